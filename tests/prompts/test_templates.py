import subprocess
import sys

import pytest

from holdfast.errors import UsageError
from holdfast.prompts.templates import DATASET_TEMPLATES, expand_templates, imagenet_names


def test_named_lists():
    assert len(expand_templates(["simple"])) == 7
    imagenet = expand_templates(["imagenet", "a {}"])
    assert len(imagenet) == 81
    assert imagenet[0] == "a bad photo of a {}."
    assert expand_templates("dtd") == list(DATASET_TEMPLATES["textures"])
    assert all(t.count("{}") == 1 for ts in DATASET_TEMPLATES.values() for t in ts)


def test_templates_of_the_papers_data_sets():
    first = {name: expand_templates(name)[0] for name in ("cars", "ucf101", "cifar100", "eurosat")}
    assert first == {
        "cars": "a photo of a {}, a type of car.",
        "ucf101": "a photo of a person doing {}.",
        "cifar100": "a photo of a {}.",
        "eurosat": "a centered satellite photo of {}.",
    }
    assert expand_templates("food-mtil") == ["a photo of a {}, a type of food."]
    # As many as CLIP's authors list, none twice.
    for name, count in {"cifar100": 18, "caltech101": 34, "stanford-cars": 9}.items():
        found = expand_templates(name)
        assert len(set(found)) == len(found) == count
    assert "a photo of the big {}." in expand_templates("cifar10")
    assert {"the origami {}.", "a {} in a video game."} <= set(expand_templates("caltech101"))


@pytest.mark.parametrize("template", ["a photo", "{} and {}", "{name}", "imagenett"])
def test_template_needs_one_place_for_the_name(template):
    with pytest.raises(UsageError, match="once, where the class name goes"):
        expand_templates([template])
    with pytest.raises(UsageError, match="did you mean imagenet"):
        expand_templates(["imagenett"])
    with pytest.raises(UsageError, match="no prompt template"):
        expand_templates([])


def test_named_lists_import_nothing_heavy():
    code = (
        "import sys; from holdfast.prompts import expand_templates; expand_templates(['imagenet']);"
        "assert not {'torch', 'open_clip', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_names_of_imagenet_occur_once():
    names = imagenet_names()
    assert len(names) == len(set(names)) == 998 and names[0] == "tench"
