"""YAML files: what stands there is what is read."""

import pytest

from holdfast.errors import HoldfastError
from holdfast.yaml_files import read_yaml

# As YAML 1.1 has it, these are 8, False, text, a date, 90, 31 and an error.
YAML_1_1 = {
    "a": "010",
    "b": "no",
    "c": "1e3",
    "d": "2020-01-02",
    "e": "1:30",
    "f": "0x1F",
    "g": "=",
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1\nb: [x, 1.5]\nc:\n  d: true", {"a": "1", "b": ["x", "1.5"], "c": {"d": "true"}}),
        ('{"a": 1, "b": [null]}', {"a": 1, "b": [None]}),
        ("{a: 1}", {"a": "1"}),
        ("a: 010\nb: no\nc: 1e3\nd: 2020-01-02\ne: 1:30\nf: 0x1F\ng: =", YAML_1_1),
        (
            "a:\nb: ~\nc: null\nd: ''\ne: '~'",
            {"a": None, "b": None, "c": "null", "d": "", "e": "~"},
        ),
        ("1: a\nyes: b", {"1": "a", "yes": "b"}),
        ('a: 😀 x\r\nb: "\\u00e9"', {"a": "😀 x", "b": "é"}),
        ("\ufeffa: é", {"a": "é"}),
        ("- a\n- b", ["a", "b"]),
        ("", None),
    ],
)
def test_yaml_and_json_are_read_alike(text, value, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    assert read_yaml(path) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &x [1]\nb: [*x, *x]", "it has an anchor (& or *)"),
        ("a: *x", "it has an anchor (& or *)"),
        ("a: 1\na: 2", "it has 'a' twice"),
        ("a:\n  b: 1\n  b: 2", "it has 'b' twice"),
        ('{"a": {"b": 1, "b": 2}}', "it has 'b' twice"),
        ("a: !!python/object/apply:os.system ['true']", "it has the tag 'tag:yaml.org"),
        ("a: 1\nb: [", "neither YAML nor JSON in line 2"),
        ("a: 1\n---\nb: 2", "neither YAML nor JSON"),
        ("~: a", "None is no name; put it in quotation marks"),
        ("a:\n\t- b", "neither YAML nor JSON in line 2, which has a tab; write spaces instead"),
        ("a: !!int '5'", "it has the tag 'tag:yaml.org,2002:int'; leave it out"),
        ("a: !important", "it has the tag '!important'; leave it out, or put what begins with !"),
        ("? [a]\n: b", "is no name"),
        ("a: " + "[" * 3000, "nested too deeply"),
        ("[" * 200_000, "nested too deeply"),
        ("a: \udcff", "not UTF-8 text"),
        ("a: " + 3_000_000 * "b", "more than 2,097,152 bytes"),
    ],
)
def test_yaml_that_cannot_be_read_is_one_sentence(text, reason, tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(HoldfastError, match=r"^[^\n]*$") as error:
        read_yaml(path)
    assert f"{path} cannot be read: " in str(error.value) and reason in str(error.value)


def test_a_yaml_file_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(HoldfastError, match=r"a\.yaml cannot be read: No such file"):
        read_yaml(tmp_path / "a.yaml")
