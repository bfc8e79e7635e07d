"""What Python may give in the place of a path."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from holdfast.commands.settings import EvaluateSettings
from holdfast.errors import UsageError
from holdfast.settings import ClassifierSource, ImageInput


class Loaded:
    names = ("a", "b")

    def predict(self, images):
        raise NotImplementedError

    def __str__(self):
        return "a classifier"


def test_a_source_is_text_or_a_classifier():
    assert ClassifierSource.from_value("~/runs", "c") == str(Path.home() / "runs")
    assert ClassifierSource.from_value(Path("a") / "b", "c") == str(Path("a") / "b")
    assert ClassifierSource.from_value("local-dir:~/x", "c") == f"local-dir:{Path.home()}/x"
    assert ClassifierSource.from_value("ViT-B-16", "c").loaded is None
    loaded = Loaded()
    found = ClassifierSource.from_value(loaded, "c")
    assert found.loaded is loaded and found == "a classifier"
    assert ClassifierSource.from_value(found, "c") is found
    for wrong in (3, None, "", object()):
        with pytest.raises(UsageError, match=r"classifier is .*; it must be a folder, the name of"):
            EvaluateSettings(wrong, "data")


def test_settings_with_a_classifier_are_json_with_its_text():
    settings = EvaluateSettings(Loaded(), "data")
    assert settings.classifier.loaded is not None
    assert json.loads(json.dumps(settings.to_json()))["classifier"] == "a classifier"


def test_a_single_image_is_no_list():
    array = np.zeros((2, 2, 3), np.uint8)
    for one in ("a", Path("a"), array, array[..., 0], Image.fromarray(array)):
        assert ImageInput.is_one(one)
    for several in ([array], array[None], ["a"], (name for name in "ab"), 3):
        assert not ImageInput.is_one(several)
