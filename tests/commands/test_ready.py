"""A ready classifier from anything that knows names."""

import shutil

import open_clip
import pytest
import torch
from PIL import Image
from tests.commands.streams import COLOURS, SHADES, read
from tests.test_cli import error_of

import holdfast
from holdfast.cli import main
from holdfast.models.student import load_student
from holdfast.names import from_names

NAMES = ["red thing", "green thing", "blue thing"]


def test_a_clip_with_names_is_open_clips_zero_shot_classifier(model, pictures):
    """The recipe for plain open_clip, and ours, give the same probabilities."""
    files = sorted(pictures.rglob("*.png"))[::5]
    ready = holdfast.load_classifier(model, device="cpu", names=NAMES)
    assert ready.names == tuple(NAMES) and ready.about["method"] == "zero-shot"
    _, ours = ready.predict(files)
    plain, _, transform = open_clip.create_model_and_transforms(model)
    tokenizer = open_clip.get_tokenizer(model)
    plain.eval()
    with torch.no_grad():
        text = plain.encode_text(tokenizer([f"a photo of a {n}." for n in NAMES]), normalize=True)
        images = torch.stack([transform(Image.open(file)) for file in files])
        logits = plain.logit_scale.exp() * plain.encode_image(images, normalize=True) @ text.T
    torch.testing.assert_close(ours, logits.softmax(dim=1))
    other = holdfast.load_classifier(model, names=NAMES, prompts={"templates": "{}"}, device="cpu")
    assert not torch.allclose(other.head.weight, ready.head.weight)


def test_names_are_separated_by_commas_or_lie_in_a_file(model, pictures, tmp_path, capsys):
    file = tmp_path / "names.txt"
    file.write_text("\n".join(NAMES))
    printed = set()
    image = str(next(pictures.rglob("*.png")))
    for names in (
        [",".join(NAMES)],
        [str(file)],
        [NAMES[0], "--names", NAMES[1], "--names", NAMES[2]],
    ):
        words = ["predict", model, image, "--device", "cpu", "--top", "3", "--names", *names]
        assert main(words) == 0
        printed.add(capsys.readouterr().out)
    [only] = printed
    assert all(name in only for name in NAMES)


def test_a_folder_of_a_clip_needs_no_prefix(clip_folder, model):
    one = holdfast.load_classifier(clip_folder, names=NAMES, device="cpu")
    two = holdfast.load_classifier(model, names=NAMES, device="cpu")
    assert torch.equal(one.head.weight, two.head.weight)


def test_a_stream_is_told_apart_over_all_that_it_has_learnt(streamed, tasks):
    """Its task-agnostic and task-aware accuracies are those of the run's matrix."""
    result = read(streamed / "result.json")
    ready = holdfast.load_classifier(streamed, device="cpu")
    assert ready.names == ("blue", "green", "red", "bright", "dark")
    assert ready.about["tasks"] == ["colours", "shades"]
    last = {"colours": None, "shades": None}
    for place, name in enumerate(last):
        found = holdfast.evaluate(
            streamed, tasks / name / "test", tasks=[name], workers=0, device="cpu"
        )
        assert found.scores.top1 == result["matrix"]["task_aware"][-1][place]
        assert set(found.scores.classes) == set((COLOURS, SHADES)[place])
    both = holdfast.load_classifier(streamed, device="cpu", tasks=["shades", "colours"])
    assert set(both.names) == set(ready.names)
    model = streamed / "tasks" / "01-colours"
    earlier = holdfast.load_classifier(model, device="cpu")
    assert set(earlier.names) == set(COLOURS)
    first = holdfast.load_classifier(streamed, device="cpu", tasks="colours")
    assert not torch.equal(first.head.weight, earlier.head.weight)  # after the other task
    named = holdfast.load_classifier(streamed, device="cpu", names=NAMES)
    assert named.names == tuple(NAMES)


def test_a_stream_names_a_folder_on_the_command_line(streamed, tasks, tmp_path, capsys):
    out = tmp_path / "names.csv"
    words = ["predict", streamed, tasks / "shades" / "test", "--out", out, "--device", "cpu"]
    assert main(list(map(str, words))) == 0
    assert len(out.read_text().splitlines()) == 19
    assert main([*map(str, words[:3]), "--tasks", "shades,colours", "--device", "cpu"]) == 0
    code, line = error_of(capsys, *words, "--tasks", "shade")
    assert code == 2 and "no task 'shade' (did you mean shades?); it has colours, shades" in line


def test_of_several_students_one_must_be_named(saved, tmp_path, capsys):
    for fold in ("without-photo", "without-sketch/seed-1"):
        shutil.copytree(saved, tmp_path / "run" / fold / "model")
    (tmp_path / "a.png").write_bytes(b"")
    one, two = tmp_path / "run" / "without-photo", tmp_path / "run" / "without-sketch" / "seed-1"
    for words in ([], [tmp_path / "a.png"]):
        code, line = error_of(capsys, "predict", tmp_path / "run", *words)
        assert code == 2 and f"holds 2 classifiers; give one of {one}, {two}." in line
    assert holdfast.load_classifier(one, device="cpu").names
    shutil.rmtree(one)
    assert holdfast.load_classifier(tmp_path / "run", device="cpu").names  # the only one


def test_what_knows_no_names_says_what_would(clip_folder, saved, streamed, tmp_path, pictures):
    for given, changes, sentence in (
        (clip_folder, {}, "is a CLIP without class names; give them, as in --names cat,dog"),
        (tmp_path, {}, "holds no classifier and no model; give the folder of a run"),
        ("runs/none", {"names": NAMES}, "There is no folder 'runs/none'"),
        (saved, {"tasks": "a"}, "is no model that keeps learning; leave --tasks out"),
        ("pocket", {"tasks": "a"}, "pocket has learnt no tasks"),
        (streamed, {"tasks": "pets"}, "has learnt no task 'pets'; it has colours, shades"),
        (clip_folder, {"names": ["one"]}, "There is only 'one'; give two"),
    ):
        with pytest.raises(holdfast.UsageError, match=sentence):
            holdfast.load_classifier(given, device="cpu", **changes)
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(holdfast.UsageError, match="a run that has made no classifier; run its co"):
        holdfast.load_classifier(tmp_path)


def test_a_student_cannot_be_given_other_names(tmp_path):
    from holdfast.models.classifier import Classifier, Head

    tower = load_student("test_resnet", None, pretrained=False, device="cpu")
    classifier = Classifier(
        tower, Head(tower.visual.backbone.num_features, 2), from_names(["a", "b"])
    )
    classifier.save(tmp_path)
    assert holdfast.load_classifier(tmp_path, device="cpu").names == ("a", "b")
    with pytest.raises(holdfast.UsageError, match="is no CLIP, so it cannot be given other names"):
        holdfast.load_classifier(tmp_path, names=["c", "d"])


def test_names_of_a_clip_come_from_the_folder_it_is_measured_on(model, pictures, capsys):
    words = ["evaluate", model, str(pictures), "--workers", "0", "--device", "cpu"]
    assert main(words) == 0
    first = capsys.readouterr().out
    assert main([*words, "--names", ",".join(NAMES)]) == 0
    assert capsys.readouterr().out == first and "30 images" in first
