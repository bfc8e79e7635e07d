import json
import logging

from holdfast.names import from_names
from holdfast.prompts import prompts_for
from holdfast.settings import PromptSettings

CLASSES = from_names(["apple", "F-16A/B", "red fox"])


def test_default_is_the_papers_template_kept_literally():
    assert prompts_for(CLASSES, PromptSettings()) == [
        ["a photo of a apple."],
        ["a photo of a F-16A/B."],
        ["a photo of a red fox."],
    ]


def test_braces_in_a_name_stay():
    classes = from_names(["{}", "{0}"])
    assert prompts_for(classes, PromptSettings())[0] == ["a photo of a {}."]


def test_descriptions_replace_templates_by_name(tmp_path, caplog):
    path = tmp_path / "cupl.json"
    path.write_text(json.dumps({"Red_Fox": ["A fox. ", "It is red."], "aple": ["A fruit."]}))
    with caplog.at_level(logging.WARNING):
        result = prompts_for(CLASSES, PromptSettings(descriptions=path))
    assert result[0] == ["a photo of a apple."]
    assert result[2] == ["A fox.", "It is red."]
    assert "'aple' (did you mean apple?)" in caplog.text
