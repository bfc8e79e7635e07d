import pytest
import torch
from safetensors.torch import load_file
from tests.worlds import domain_tree, small_world
from torch import nn

from holdfast.data.batches import Batch
from holdfast.harness import Fold
from holdfast.losses import cosine_loss
from holdfast.methods.distill import Student, distill, objective, train
from holdfast.settings import Optimisation, StageSettings

SETTINGS = Optimisation(
    optimizer="adam", learning_rate=0.01, weight_decay=0.0, warmup_steps=0, schedule="constant"
)


SETTINGS_OF_A_STAGE = StageSettings(learning_rate=1e-3, steps=4, per_domain=3)


class OneBatch:
    def __init__(self, batch, steps):
        self.batch, self.steps = batch, steps

    def __len__(self):
        return self.steps

    def __call__(self, start):
        return iter([self.batch] * (self.steps - start))


@pytest.fixture
def student():
    torch.manual_seed(0)
    return Student(nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.GELU()), nn.Linear(6, 4))


@pytest.fixture
def batch():
    torch.manual_seed(1)
    images, labels = torch.randn(5, 3, 2, 2), torch.zeros(5, dtype=torch.long)
    return Batch(images, labels, torch.arange(5), torch.randn(5, 4), torch.randn(5, 4))


def test_the_objective_by_hand(student, batch):
    (terms,) = objective(0.3)(student, batch)
    z = nn.functional.normalize(student(batch.images), dim=-1)
    images, text = (
        (z * nn.functional.normalize(t, dim=-1)).sum(dim=-1).mean()
        for t in (batch.teacher_images, batch.teacher_text)
    )
    torch.testing.assert_close(terms["image"], -0.3 * images)
    torch.testing.assert_close(terms["text"], -0.7 * text)


def test_cosine_loss_ignores_lengths(batch):
    a, b = batch.teacher_images, batch.teacher_text
    torch.testing.assert_close(cosine_loss(3 * a, 0.1 * b), cosine_loss(a, b))
    assert cosine_loss(a, a).item() == pytest.approx(-1.0)


@pytest.mark.parametrize("moving", ["projection", "backbone"])
def test_each_stage_moves_its_own_part_and_lowers_the_loss(student, batch, moving):
    before = {name: t.clone() for name, t in student.state_dict().items()}
    losses = []
    train(
        student,
        moving,
        OneBatch(batch, 30),
        0.5,
        SETTINGS,
        seed=0,
        record=lambda r: losses.append(sum(r["losses"].values())),
    )
    moved = {name for name, t in student.state_dict().items() if not torch.equal(t, before[name])}
    assert moved == {name for name in before if name.startswith(moving)}
    assert losses[-1] < losses[0] - 0.1


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return domain_tree(tmp_path_factory.mktemp("domains") / "data")


def weights(module):
    return {name: t.clone() for name, t in module.state_dict().items()}


def moved(before, after):
    return {name for name, t in after.items() if not torch.equal(t, before[name])}


@pytest.mark.parametrize("views", [2, 0])
def test_align_then_distill_then_predict_with_the_text(tree, tmp_path, views):
    world, _ = small_world(tree, tmp_path / "answers", views=views)
    fold = Fold(world, 0, (0, 1), tmp_path / "fold")
    start = weights(fold.student(projected=True)[1])
    classifier = distill(fold, 0.5)
    aligned = load_file(tmp_path / "fold" / "align.safetensors")
    distilled = load_file(tmp_path / "fold" / "distill.safetensors")
    assert set(aligned) == {"projection.weight", "projection.bias"}
    assert all(name.startswith("backbone.") for name in distilled)
    after = weights(classifier.visual)
    assert all(torch.equal(after[name], t) for name, t in (aligned | distilled).items())
    assert moved(start, after) == set(aligned | distilled)
    # Predict: cosine similarities with the text, times the logit scale.
    torch.testing.assert_close(classifier.head.weight, world.text * world.logit_scale)
    assert not classifier.head.bias.any()
    losses = [v["loss"] for stage in fold.stages.values() for v in stage["validations"]]
    assert min(losses[3:]) < losses[0]


def test_aligning_on_features_equals_aligning_on_pixels(tree, tmp_path):
    """The features are those of the backbone, which does not learn in this stage."""
    world, _ = small_world(tree, tmp_path / "answers", views=2)
    fold = Fold(world, 0, (0, 1), tmp_path / "fold")
    results = []
    for stored in (True, False):
        _, taught = fold.student(projected=True)
        learner = Student(nn.Identity(), taught.projection) if stored else taught
        batches = fold.batches(
            "align", SETTINGS_OF_A_STAGE, True, taught.backbone if stored else None
        )
        train(learner, "projection", batches, 0.3, SETTINGS_OF_A_STAGE, seed=0)
        results.append(weights(taught))
    for name, tensor in results[0].items():
        torch.testing.assert_close(tensor, results[1][name], rtol=1e-3, atol=1e-5)


def test_self_distillation_trains_all_of_the_teachers_tower_and_needs_no_alignment(tree, tmp_path):
    world, _ = small_world(tree, tmp_path / "answers", student="teacher")
    fold = Fold(world, 0, (0, 1), tmp_path / "fold")
    teacher = weights(world.tower(None, 0).visual)
    classifier = distill(fold, 0.5)
    assert list(fold.stages) == ["distill"]
    assert "proj" in moved(teacher, weights(classifier.visual))
    assert not moved(teacher, weights(world.tower(None, 0).visual))  # a copy learns


def test_the_image_weight_decides_between_pictures_and_text(tree, tmp_path):
    world, _ = small_world(tree, tmp_path / "answers")
    folds = {w: Fold(world, 0, (0, 1), tmp_path / f"{w}") for w in (0.0, 1.0)}
    a, b = (weights(distill(fold, w).visual) for w, fold in folds.items())
    assert moved(a, b)
