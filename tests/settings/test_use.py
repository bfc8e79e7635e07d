"""Settings of what is done with finished models."""

import inspect
from pathlib import Path

import numpy as np
import pytest

import holdfast
from holdfast.commands.settings import EvaluateSettings, LoadSettings, PredictSettings
from holdfast.errors import UsageError


def test_what_comes_first_is_given_first():
    for function, first in (
        (holdfast.load_classifier, ["classifier", "device", "names"]),
        (holdfast.evaluate, ["classifier", "data"]),
        (holdfast.predict, ["classifier", "images"]),
        (holdfast.compare, ["runs"]),
    ):
        assert list(inspect.signature(function).parameters)[: len(first)] == first


def test_folders_are_one_or_several():
    assert EvaluateSettings("c", "a").data == [Path("a")]
    assert EvaluateSettings("c", ["a", Path("b")]).data == [Path("a"), Path("b")]
    assert LoadSettings("c", "cpu").device == "cpu"
    with pytest.raises(UsageError, match=r"The setting data is missing"):
        EvaluateSettings.from_dict({"classifier": "c"})
    assert PredictSettings.from_dict({"classifier": "c", "files": "a.txt"}).images == []


def test_images_are_one_or_several():
    array = np.zeros((2, 2, 3), np.uint8)
    assert PredictSettings("c", "~/a,b.png").images == [Path.home() / "a,b.png"]
    assert PredictSettings("c", "[a].png").images == [Path("[a].png")]
    assert PredictSettings("c", ["a", Path("b")]).images == [Path("a"), Path("b")]
    assert PredictSettings("c", (name for name in "ab")).images == [Path("a"), Path("b")]
    [found] = PredictSettings("c", array).images
    assert found is array
    assert len(PredictSettings("c", np.stack([array, array])).images) == 2
    with pytest.raises(UsageError, match="images holds 3; give paths, PIL images, arrays or"):
        PredictSettings("c", [3])
    with pytest.raises(UsageError, match="images holds ''"):
        PredictSettings("c", "")
