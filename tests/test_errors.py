import pytest

from holdfast.errors import HoldfastError, UsageError, did_you_mean, require, shortened

KNOWN = ("learning_rate", "weight_decay", "warmup_steps", "ViT-B-16")


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("learning_rat", " (did you mean learning_rate?)"),
        ("LEARNING_RATE", " (did you mean learning_rate?)"),
        ("vit-b16", " (did you mean ViT-B-16?)"),
        ("zzz", ""),
        ("", ""),
    ],
)
def test_the_closest_entries_are_named_as_they_are_spelt(word, hint):
    assert did_you_mean(word, KNOWN) == hint


def test_several_entries_come_closest_first_and_not_more_than_asked_for():
    known = ["step", "steps", "stepss", "stepsss", "other"]
    assert did_you_mean("steps", known) == " (did you mean steps, stepss, step?)"
    assert did_you_mean("steps", known, count=1) == " (did you mean steps?)"
    assert did_you_mean("steps", iter(())) == ""


def test_a_wrong_request_is_an_error_of_ours():
    assert issubclass(UsageError, HoldfastError)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("short.", "short"),
        (" two\n lines ", "two lines"),
        (ValueError(""), "ValueError"),
        ("", ""),
        ("one two three four", "one two ..."),
        ("x" * 20, "xxxxxxxxxx ..."),
    ],
)
def test_what_a_library_said_is_cut_between_words(said, expected):
    assert shortened(said, 10) == expected


def test_a_library_that_is_not_installed_is_named_with_the_command_that_brings_it():
    require("json", "all")
    with pytest.raises(HoldfastError, match=r"library no_such_library, .* 'holdfast\[all\]'"):
        require("no_such_library", "all")
