"""Methods as compositions: which anchors a run has, what they need, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pytest
import torch
from tests.methods.small import small_batch, small_learner, terms_of

from holdfast.anchors.alignment import Alignment
from holdfast.anchors.base import Anchor, Need, WeightPull
from holdfast.anchors.consolidation import Consolidation
from holdfast.anchors.iterate_average import IterateAverage
from holdfast.anchors.replay_distillation import ReplayDistillation
from holdfast.anchors.teacher_embeddings import TeacherEmbeddings
from holdfast.anchors.variance_covariance import VarianceCovariance
from holdfast.anchors.weight_ensemble import WeightEnsemble
from holdfast.errors import UsageError
from holdfast.losses import cross_entropy
from holdfast.methods import Family, Method, available, compose
from holdfast.methods.base import PROVIDED, check_family, phases_of
from holdfast.methods.ewc import EWC
from holdfast.methods.finetune import FineTuning
from holdfast.methods.gift import GIFT
from holdfast.methods.kd import KD
from holdfast.methods.lp_ft import LPFT
from holdfast.methods.lwf import LwF
from holdfast.methods.regft import RegFT
from holdfast.methods.vl2v import VL2V
from holdfast.methods.zscl import ZSCL

METHODS = [(kind, family) for kind in Method.known().values() for family in sorted(kind.families)]


@pytest.mark.parametrize(("kind", "family"), METHODS)
def test_each_method_can_be_composed_as_it_is(kind, family):
    found = compose(kind(), [], family)
    assert found.method == kind()
    assert found.anchors == tuple(kind().anchors(family))
    assert found.needs <= PROVIDED[family]
    for candidate in kind().candidates():
        assert isinstance(candidate, kind)


@pytest.mark.parametrize("kind", Method.known().values())
def test_each_method_says_what_it_is(kind):
    assert kind.name and kind.title and kind.__doc__ and kind.families
    assert kind.paper == "" or kind.paper.startswith("arXiv ")
    assert [phase.name for phase in kind.phases] and kind.head in ("new", "text", "fixed")
    own = [each.name for each in fields(kind)]
    assert len(own) == len(set(own))


def test_a_method_is_known_by_its_name_and_offered_by_its_commands():
    assert list(Method.known()) == sorted(Method.known())
    assert set(available(Family.TRANSFER)) == {"finetune", "l2", "regft", "wise-ft"}
    assert {"gift", "zscl", "lwf", "ewc", "joint", "zero-shot"} <= set(available(Family.CONTINUAL))
    check_family(GIFT(), Family.CONTINUAL)
    with pytest.raises(
        UsageError, match="'gift' is not for distill; give one of erm, image-only, kd"
    ):
        check_family(GIFT(), Family.DISTILL)
    with pytest.raises(UsageError, match="'gift' is not for transfer"):
        compose(GIFT(), [], Family.TRANSFER)


def test_a_file_with_a_class_that_has_a_name_is_a_method():
    @dataclass(frozen=True)
    class Sparse(Method):
        """A method of a test."""

        name = "test-sparse"
        title = "Sparse"
        families = frozenset({Family.CONTINUAL})

    try:
        assert Method.from_value("test-sparse", "method") == Sparse()
        assert "test-sparse" in available(Family.CONTINUAL)
        assert "test-sparse" not in available(Family.DISTILL)
        assert Sparse().to_json() == {"name": "test-sparse"}
    finally:
        del Method.registry["test-sparse"]


def test_the_loss_on_the_new_thing_is_cross_entropy():
    learner, batch = small_learner(), small_batch()
    terms = terms_of("erm", learner, batch)
    _, logits = learner(batch.images)
    torch.testing.assert_close(terms, {"cross_entropy": cross_entropy(logits, batch.labels)})


# Anchors


def test_anchors_that_are_added_come_after_the_methods_own():
    extra = [IterateAverage(5), VarianceCovariance(0.3)]
    found = compose(GIFT(), extra, Family.CONTINUAL)
    assert found.anchors == (ReplayDistillation(), Alignment(), Consolidation(), *extra)


def test_an_anchor_that_is_added_takes_the_place_of_the_methods_own():
    found = compose(GIFT(), [Alignment(0.9)], Family.CONTINUAL)
    assert found.anchors == (ReplayDistillation(), Consolidation(), Alignment(0.9))
    found = compose(RegFT(), [WeightEnsemble(0.1)], Family.TRANSFER)
    assert found.of(WeightEnsemble) == [WeightEnsemble(0.1)]


def test_anchors_without_weight_are_left_out():
    method = GIFT(alignment={"weight": 0}, consolidation={"strength": 0})
    assert compose(method, [], Family.CONTINUAL).anchors == (ReplayDistillation(),)
    # Also one that takes the place of another.
    found = compose(GIFT(), [Alignment(0)], Family.CONTINUAL)
    assert found.anchors == (ReplayDistillation(), Consolidation())
    assert compose(RegFT({"variance": 0, "covariance": 0}), [], Family.TRANSFER).anchors == (
        WeightEnsemble(),
    )


def test_an_anchor_twice_is_refused():
    with pytest.raises(
        UsageError, match=r"^An anchor is given twice in anchors; give each once\.$"
    ):
        compose(GIFT(), [Alignment(), Alignment(0.5)], Family.CONTINUAL)


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("kind", Anchor.known().values())
def test_an_anchor_is_taken_where_its_need_is_met_and_refused_elsewhere(kind, family):
    method = {"transfer": FineTuning(), "continual": GIFT(), "distill": KD()}[family]
    anchor = Consolidation(1.0, "uniform") if kind is Consolidation else kind()
    if kind.needs <= PROVIDED[family]:
        assert anchor in compose(method, [anchor], family).anchors
    else:
        with pytest.raises(UsageError, match=f"{kind.name!r} needs .* which {family} has not;"):
            compose(method, [anchor], family)


def test_a_teacher_is_only_there_in_a_distillation():
    for family, method in ((Family.TRANSFER, RegFT()), (Family.CONTINUAL, GIFT())):
        with pytest.raises(UsageError, match="'teacher-embeddings' needs a teacher's embeddings"):
            compose(method, [TeacherEmbeddings()], family)


# Replayed images


def test_adaptive_importance_needs_losses_to_take_it_from():
    match = (
        "^The adaptive importance of the consolidation comes from the losses on replayed images, "
        "and there are none; add replay-distillation or alignment with a weight, or take the "
        r"importance uniform\.$"
    )
    with pytest.raises(UsageError, match=match):
        compose(FineTuning(), [Consolidation()], Family.CONTINUAL)
    nothing = GIFT(distillation={"weight": 0}, alignment={"weight": 0})
    with pytest.raises(UsageError, match=match):
        compose(nothing, [], Family.CONTINUAL)
    for other in (ReplayDistillation(), Alignment()):
        found = compose(FineTuning(), [Consolidation(), other], Family.CONTINUAL)
        assert found.replays
    for importance in ("uniform", "static"):
        compose(FineTuning(), [Consolidation(1.0, importance)], Family.CONTINUAL)


def test_without_replayed_images_what_is_left_of_consolidation_is_l2():
    found = compose(GIFT(), [VarianceCovariance()], Family.CONTINUAL, replay=False)
    assert found.anchors == (Consolidation(1.0, "uniform"), VarianceCovariance())
    assert not found.replays and not found.asks_replay and Need.REPLAY not in found.needs
    assert compose(ZSCL(), [], Family.CONTINUAL, replay=False).of(WeightPull) == [
        Consolidation(1.0, "uniform")
    ]


def test_what_looks_at_replayed_images_and_at_which():
    gift = compose(GIFT(), [], Family.CONTINUAL)
    assert gift.replays and gift.asks_replay and not gift.weighs_by_replay
    assert (gift.replayed, gift.teacher) == ("known", "previous")
    lwf = compose(LwF(), [], Family.CONTINUAL)
    assert (lwf.replayed, lwf.distillation) == ("task", LwF().distillation)
    zscl = compose(ZSCL(), [], Family.CONTINUAL)
    assert (zscl.replayed, zscl.teacher) == ("pretraining", "initial")
    ewc = compose(EWC(), [], Family.CONTINUAL)
    assert ewc.asks_replay and ewc.weighs_by_replay and not ewc.replays
    plain = compose(FineTuning(), [], Family.CONTINUAL)
    assert not plain.asks_replay and plain.distillation is None and plain.replayed == "known"


def test_the_teachers_own_tower_has_no_projection_to_train():
    assert [p.name for p in phases_of(VL2V(), "pocket")] == ["align", "distill"]
    assert [p.name for p in phases_of(VL2V(), "teacher")] == ["distill"]
    assert [p.name for p in phases_of(LPFT(), "teacher")] == ["probe", "train"]
