"""The documentation says what is so: its snippets run, its pictures are made from the code."""

import re
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import holdfast.anchors
import holdfast.methods
from holdfast.anchors.base import Anchor
from holdfast.cli import main
from holdfast.methods.base import Method
from holdfast.results import read_result

ROOT = Path(__file__).parent.parent
EXTENDING = ROOT / "docs" / "extending.md"


def snippets(page, language):
    """The code blocks of a page in a language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.S)


@pytest.fixture
def extended(tmp_path):
    """The files that the how-to writes, where the package looks for them; gone afterwards."""
    paths = {"methods": holdfast.methods.__path__, "anchors": holdfast.anchors.__path__}
    known = dict(Method.registry), dict(Anchor.registry)
    for text in snippets(EXTENDING, "python"):
        if text.startswith("# file: "):
            place = tmp_path / text.splitlines()[0].removeprefix("# file: ")
            place.parent.mkdir(exist_ok=True)
            place.write_text(text)
            paths[place.parent.name].append(str(place.parent))
    yield tmp_path
    for kind, path in paths.items():
        del path[1:]
        for name in [n for n in sys.modules if n.startswith(f"holdfast.{kind}.")]:
            if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]
    for registry, before in zip((Method.registry, Anchor.registry), known, strict=True):
        registry.clear()
        registry.update(before)


@pytest.fixture
def stream(tmp_path, clip_folder, pictures):
    """A stream of two tasks, and options that make it quick."""
    for name in ("one", "two"):
        for split in ("train", "test"):
            (tmp_path / name / split).parent.mkdir(exist_ok=True)
            shutil.copytree(pictures, tmp_path / name / split)
    (tmp_path / "stream.yaml").write_text("- one\n- two\n")
    model = ("--model", f"local-dir:{clip_folder}", "--device", "cpu", "--train.workers", "0")
    return [*model, "--train.steps", "3", "--train.batch_size", "4", "--learning_rate", "1e-3"]


def commands(text, tmp_path):
    """The commands of a shell snippet, as argument lists."""
    for line in text.strip().splitlines():
        words = line.split()
        assert words[0] == "holdfast"
        yield [
            str(tmp_path / w) if w == "stream.yaml" or w.startswith("runs/") else w
            for w in words[1:]
        ]


def test_a_method_and_an_anchor_are_a_file_each(extended, stream, capsys):
    main(["continual", "run", "--help", "--method", "l2-sp"])
    page = capsys.readouterr().out
    assert "l2-sp" in page and "--method.pull.strength" in page
    first, second = snippets(EXTENDING, "sh")
    for text in (first, second):
        for command in commands(text, extended):
            assert main([*command, *stream]) == 0
    run = extended / "runs" / "l2-sp"
    result = read_result(run / "result.json")
    assert result.method == "l2-sp" and len(result.steps) == 2
    assert {"cross_entropy", "consolidation"} == set(result.steps[0].training[0].losses)
    report = (run / "report.html").read_text()
    assert "L2-SP" in report and "1802.01483" in report
    short = read_result(extended / "runs" / "short" / "result.json")
    assert "feature_norm" in short.steps[0].training[0].losses


def test_l2_sp_pulls_toward_the_initial_weights(extended, stream, clip_folder, tmp_path):
    """However strong the pull, the second task's model lies near the first model of all."""
    out = tmp_path / "out"
    command = ["continual", "run", str(tmp_path / "stream.yaml"), "--method", "l2-sp"]
    assert main([*command, "--method.pull.strength", "1e4", *stream, "--out", str(out)]) == 0
    start = load_file(clip_folder / "open_clip_model.safetensors")
    weights = load_file(out / "tasks" / "02-two" / "model" / "open_clip_model.safetensors")
    away = sum((weights[n] - t).square().sum() for n, t in start.items() if t.is_floating_point())
    plain = tmp_path / "plain"
    command[-1] = "finetune"
    assert main([*command, *stream, "--out", str(plain)]) == 0
    tuned = load_file(plain / "tasks" / "02-two" / "model" / "open_clip_model.safetensors")
    far = sum((tuned[n] - t).square().sum() for n, t in start.items() if t.is_floating_point())
    assert away < 0.5 * far


def test_a_file_of_embeddings_is_a_teacher(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [snippet] = [s for s in snippets(EXTENDING, "python") if s.startswith("# run")]
    exec(compile(snippet, str(EXTENDING), "exec"), {"photos": pictures})
    from holdfast.teachers import FileTeacher

    teacher = FileTeacher(Path("teacher.safetensors"))
    text = teacher.embed_text(["a photo of a red thing."])
    assert text.shape == (1, 16)
    torch.testing.assert_close(text.norm(dim=1), torch.ones(1))


def architecture():
    """The script that draws the structure."""
    spec = spec_from_file_location("architecture", ROOT / "docs" / "architecture.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tree_and_the_picture_are_those_of_the_code():
    module = architecture()
    for page, make in module.PAGES.items():
        text = page.read_text()
        assert module.replaced(text, make()) == text, f"run make architecture: {page} is stale"


def test_the_wheel_names_its_version():
    version = subprocess.run(
        [sys.executable, "-m", "holdfast", "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert version == holdfast.__version__


def test_the_page_of_the_package_leads_nowhere_into_the_repository():
    """A package index shows it alone."""
    links = re.findall(r"\]\(([^)]*)\)", (ROOT / "docs" / "package.md").read_text())
    assert links and all(link.startswith("https://") for link in links)
