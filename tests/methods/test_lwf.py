"""LwF: the previous model's answers on the task's own images."""

from holdfast.anchors.replay_distillation import ReplayDistillation
from holdfast.methods import Family, compose
from holdfast.methods.lwf import LwF


def test_it_asks_about_the_tasks_own_images_in_one_direction():
    found = compose(LwF(), [], Family.CONTINUAL)
    [anchor] = found.anchors
    assert isinstance(anchor, ReplayDistillation)
    assert (anchor.over, anchor.directions, anchor.train_towers) == ("all", "image", "image")
    assert (found.replayed, found.teacher) == ("task", "previous")
