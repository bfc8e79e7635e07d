from dataclasses import fields
from pathlib import Path

import pytest

from holdfast import settings
from holdfast.errors import UsageError

KINDS = [
    kind
    for kind in vars(settings).values()
    if isinstance(kind, type) and issubclass(kind, settings.Settings)
]


@pytest.mark.parametrize("kind", KINDS)
def test_limits_name_fields_and_hold_for_the_defaults(kind):
    known = {field.name: field.default for field in fields(kind)}
    for name, (low, high) in kind.limits.items():
        assert name in known
        if isinstance(known[name], int | float):
            assert low <= known[name] <= high


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: settings.TrainSettings(learning_rate=-1), "learning_rate is -1; .* at least 0"),
        (lambda: settings.TrainSettings(clip_norm=-1), "clip_norm"),
        (lambda: settings.TrainSettings(label_smoothing=2), "from 0 to 0.99"),
        (lambda: settings.ImageSettings(per_class=0), "per_class is 0; .* at least 1"),
        (lambda: settings.ImageSettings(size=0), "size"),
        (lambda: settings.TransferSettings(alpha=1.5), "alpha is 1.5; .* from 0 to 1"),
        (lambda: settings.TransferSettings(seed=10**30), "seed"),
        (lambda: settings.PredictSettings(Path("a"), [], top=0), "top"),
    ],
)
def test_numbers_out_of_their_limits_are_one_sentence(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_text_becomes_a_path_where_one_is_wanted():
    found = settings.TransferSettings(["a", "b"], "out", folder="images", alpha="auto")
    assert (found.out, found.folder) == (Path("out"), Path("images"))
    assert found.model == "ViT-B-16" and found.evaluate is None


def test_the_papers_values_are_the_defaults():
    images, train = settings.ImageSettings(), settings.TrainSettings()
    assert (images.per_class, images.guidance, images.steps) == (64, 5.0, 50)
    assert (train.variance, train.covariance, train.weight_decay) == (0.16, 0.02, 0.1)
    assert (train.epochs, train.batch_size, train.clip_norm) == (10, 128, 1.0)
    assert settings.TransferSettings().alpha == 0.5
