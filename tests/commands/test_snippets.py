"""Every snippet of the README and the docs runs, on tiny models in the place of those it names."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.commands.streams import paint
from tests.tiny import student_folder
from tests.worlds import domain_tree

import holdfast
from holdfast.cli import COMMANDS, main
from holdfast.cli_parse import parse
from holdfast.data.streams import find_stream
from holdfast.models.classifier import Classifier, Head
from holdfast.models.student import load_student
from holdfast.names import from_names

ROOT = Path(__file__).parents[2]
NAMES = ["golden retriever", "tabby cat", "barn owl"]
COLOURS = dict(zip(NAMES, ((1, 0, 0), (0, 1, 0), (0, 0, 1)), strict=True))
# Pages whose snippets have tests of their own: tests/test_docs.py, and the drawing of a picture.
ELSEWHERE = {"extending.md", "architecture.md"}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ONLY_READ = {"serve", "demo"}  # they go on for ever, or for minutes; tests of their own run them


def blocks(page, language):
    """The code blocks of a page in a language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.S)


def commands(page):
    """The words of each `holdfast` command of a page, in order."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            if (words := shlex.split(line, comments=True))[:1] == ["holdfast"]:
                yield words[1:]


@pytest.fixture
def world(tmp_path, monkeypatch, clip_folder, diffusion_folder):
    """A folder with what the snippets speak of, and options that make models tiny."""
    monkeypatch.chdir(tmp_path)
    paint(Path("classes"), COLOURS, 3, 0)
    domain_tree(Path("domains"))
    for number, task in enumerate(("pets", "cars", "scenes", "letters", "aircraft")):
        for split in ("train", "test"):
            paint(
                Path("data", task, split),
                {f"{task} one": (1, 0, 0), f"{task} two": (0, 1, 0)},
                3,
                number,
            )
    Path("stream.yaml").write_text("- data/pets\n- data/cars\n")
    Path("names.txt").write_text("\n".join(NAMES))
    Path("cupl.json").write_text('{"tabby cat": ["a tabby cat, which has stripes."]}')
    for name in ("a.jpg", "b.jpg"):
        Image.open("classes/barn owl/0.png").save(name)
    Path("list.txt").write_text("a.jpg\nb.jpg\n")
    model = f"local-dir:{clip_folder}"
    student = f"local-dir:{student_folder(tmp_path / 'tiny-student')}"
    drawn = ["--generator", diffusion_folder, "--replay.base", "names.txt", "--replay.images", "4"]
    drawn += ["--replay.steps", "1", "--train.workers", "0", "--train.replay_batch_size", "4"]
    task = [*drawn, "--train.steps", "2", "--train.batch_size", "4", "--max_drop", "none"]
    short = [
        f"--{stage}.{key}={n}"
        for stage in ("align", "train")
        for key, n in (("steps", 2), ("per_domain", 2))
    ]
    return {
        "words": {"ViT-B-16": model},
        "transfer": [
            *("--model", model, "--pretrained", "", *drawn, "--images.steps", "1"),
            *("--images.per_class", "2", "--images.size", "none", "--images.resize", "none"),
            *("--train.epochs", "1", "--train.batch_size", "4"),
        ],
        "distill": [
            *("--teacher", model, "--student", student, "--pretrained", "", *short, "--views", "1"),
            *("--view.size", "32", "--sample", "4", "--workers", "0"),
        ],
        "continual run": ["--model", model, *task[:-2]],
        "continual add": task,
    }


def run_all(page, world):
    """Run the commands of a page, one after the other, as they stand there."""
    for words in commands(page):
        name = next(" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in COMMANDS)
        # The stream that comes along takes minutes.
        if name in ONLY_READ or words[:3] == ["continual", "run", "pocket"]:
            parse(name, COMMANDS[name], words[len(name.split()) :])
            continue
        Path("photos").unlink(missing_ok=True)
        Path("photos").symlink_to("domains" if name == "distill" else "classes")
        given = [world["words"].get(word, word) for word in words]
        more = [] if name in ("compare", "report") else ["--device", "cpu"]
        command = [*given, *map(str, world.get(name, [])), *more]
        assert main(command) == 0, command


@pytest.mark.parametrize(
    "page", [p for p in PAGES if p.name not in {*ELSEWHERE, "use.md"}], ids=lambda p: p.name
)
def test_the_commands_of_a_page_run_in_its_order(page, world):
    run_all(page, world)


def test_no_page_has_snippets_that_nothing_runs():
    """Commands run on every page; the rest by the tests that name their pages."""
    pages = {
        "python": {"README.md", "use.md", "extending.md"},
        "yaml": {"continual.md"},
        "mermaid": {"architecture.md"},
    }
    for page in PAGES:
        for language in re.findall(r"^```(\w+)$", page.read_text(), flags=re.M):
            assert language == "sh" or page.name in pages[language]
        for block in blocks(page, "sh"):
            known = [line.split()[0] for line in block.replace("\\\n", " ").splitlines() if line]
            assert set(known) <= {"holdfast", "make", "pip"}


def test_the_stream_of_the_docs_can_be_read(world):
    [text] = blocks(ROOT / "docs" / "continual.md", "yaml")
    Path("example.yaml").write_text(text)
    assert len(find_stream(Path("example.yaml"))) == 4


def test_the_python_of_the_readme_runs(world):
    [text] = blocks(ROOT / "README.md", "python")
    settings = parse("transfer", COMMANDS["transfer"], ["a", "b", *map(str, world["transfer"])])
    given = {k: v for k, v in settings.to_json().items() if k not in ("names", "out", "device")}
    text, count = re.subn(r"(holdfast\.transfer\(.*?)\)\n", r"\1, device='cpu', **given)\n", text)
    assert count == 1
    found = {"given": given}
    exec(compile(text, "README.md", "exec"), found)
    assert len(found["names"]) == 2 and found["probabilities"].shape == (2, 3)


@pytest.fixture
def used(world, clip_folder, streamed):
    """What the page on using models speaks of."""
    model = world["words"]["ViT-B-16"]
    holdfast.load_classifier(model, "cpu", names=NAMES).save("runs/animals/model")
    Path("photos").symlink_to("classes")
    Path("more-photos").symlink_to("classes")
    for picture in Path("classes").rglob("*.png"):
        Image.open(picture).save(picture.with_suffix(".jpg"))
    tower = load_student(f"local-dir:{Path.cwd() / 'tiny-student'}", 16, device="cpu")
    Classifier(tower, Head(16, 3), from_names(NAMES)).eval().save("runs/student/model")
    return model


def test_the_commands_on_using_models_run(used, world):
    page = ROOT / "docs" / "use.md"
    options = world["continual run"]
    assert (
        main(
            [
                "continual",
                "run",
                "stream.yaml",
                "--out",
                "runs/stream",
                "--device",
                "cpu",
                *map(str, options),
            ]
        )
        == 0
    )
    quick = world["transfer"]
    shutil.rmtree("runs/animals")
    assert (
        main(["transfer", *NAMES, "--out", "runs/animals", "--device", "cpu", *map(str, quick)])
        == 0
    )
    Path("photos").unlink()
    run_all(page, world)
    assert len(Path("predictions.csv").read_text().splitlines()) == 19
    assert len(Path("predictions.jsonl").read_text().splitlines()) == 10


def python_of(part):
    """The Python snippet of the page on using models that has a text in it."""
    [found] = [text for text in blocks(ROOT / "docs" / "use.md", "python") if part in text]
    return found


def executed(text, model=""):
    """The names that a snippet leaves."""
    text = text.replace('"ViT-B-16", pretrained="openai"', f'"{model}"').replace("ViT-B-16", model)
    found = {}
    exec(compile(text, "use.md", "exec"), found)
    return found


def test_three_lines_of_python_name_a_folder(used):
    found = executed(python_of("out="))
    assert found["names"][0] in NAMES
    assert len(Path("predictions.csv").read_text().splitlines()) == 19


def test_a_clip_with_names_in_python(used, streamed, capsys):
    shutil.copytree(streamed, "runs/stream")
    text = python_of("classifiers/zero-shot").replace('"pets"', '"colours"')
    found = executed(text, used)
    assert found["result"].scores.n == 18
    assert holdfast.load_classifier("classifiers/zero-shot").names == tuple(NAMES)
    assert "b.jpg" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("part", "folder"),
    [("encode_text", ""), ("local-dir:{folder}", "runs/animals"), ("timm", "runs/student")],
)
def test_the_recipes_without_holdfast_give_the_same_probabilities(part, folder, used):
    texts = [t for t in blocks(ROOT / "docs" / "use.md", "python") if part in t]
    [text] = [t for t in texts if ("timm" in t) == (part == "timm")]
    torch.manual_seed(1)  # weights that are not loaded would be others
    found = executed(text, used)
    assert found["names"] == NAMES
    names = NAMES if not folder else []
    ours = holdfast.load_classifier(folder or used, "cpu", names=names)
    _, expected = ours.predict("a.jpg")
    torch.testing.assert_close(found["probabilities"], expected)
