import multiprocessing
import os
import threading
import time
import weakref

import numpy as np
import pytest
from PIL import Image

from holdfast import seen
from holdfast.data import folders
from holdfast.data.folders import fingerprint, scan
from holdfast.errors import HoldfastError, UsageError
from holdfast.files import LOCK, derive_seed, read_sealed, write_sealed
from holdfast.generation import generate_images, images, manifest, pipeline
from holdfast.generation.manifest import SETTINGS
from holdfast.generation.sources import folder_hash
from holdfast.json_lines import read_lines
from holdfast.names import from_names
from holdfast.settings import ImageSettings

CLASSES = from_names(["cat", "F-16A/B", "red fox"])
PROMPTS = [[f"a photo of a {name}.", f"a {name}."] for name in CLASSES]
FAST = {"steps": 2, "per_class": 4, "batch_size": 5}


def draw(out, generator, prompts=PROMPTS, seed=0, counts=None, **settings):
    images = ImageSettings(**FAST | settings)
    return generate_images(
        CLASSES, prompts, counts or [images.per_class] * 3, out, str(generator), images, seed=seed,
        device="cpu",
    )  # fmt: skip


def hashes(manifest):
    return {record.file: record.sha256 for record in manifest.records}


@pytest.fixture(scope="module")
def whole(diffusion, tmp_path_factory):
    return draw(tmp_path_factory.mktemp("whole") / "out", diffusion)


def test_every_image_is_recorded(whole, diffusion):
    assert len(whole.records) == len(list(whole.folder.rglob("*.png"))) == 12
    assert whole.labels == [0] * 4 + [1] * 4 + [2] * 4
    record = whole.records[5]
    assert (record.name, record.index, record.prompt) == ("F-16A/B", 1, "a F-16A/B.")
    assert record.seed == derive_seed(0, CLASSES.ids[1], 1, 0)
    assert (record.generator, record.scheduler) == ("tiny-diffusion", "DDIMScheduler")
    assert record.revision == folder_hash(diffusion)
    with Image.open(whole.paths[5]) as image:
        assert image.size == (record.width, record.height) == (32, 32)
    assert len({record.sha256 for record in whole.records}) == 12
    assert [path.name for path in whole.folder.rglob(".*")] == [LOCK]


def test_a_second_start_reads_no_image_that_is_unchanged(whole, diffusion, monkeypatch):
    """As another process would: what is known is in the folder alone."""
    opened = []

    def watched(path):
        opened.append(path.name)
        return path.open("rb")

    monkeypatch.setattr(seen, "open_file", watched)
    parsed = []
    monkeypatch.setattr(
        manifest, "read_lines", lambda path: parsed.append(path) or read_lines(path)
    )
    manifest._parsed.cache_clear()
    monkeypatch.setattr(images, "SEEN", seen.Seen())
    monkeypatch.setattr(folders, "SEEN", images.SEEN)
    assert hashes(draw(whole.folder, diffusion)) == hashes(whole)
    fingerprint(scan(whole.folder))
    assert opened == [] and parsed == [whole.folder / manifest.MANIFEST]
    touched = whole.paths[5]
    touched.write_bytes(touched.read_bytes())  # the same picture at another time
    monkeypatch.setattr(images, "SEEN", seen.Seen())
    assert hashes(draw(whole.folder, diffusion)) == hashes(whole)
    assert opened == [touched.name]


def test_scan_reads_what_was_generated(whole):
    data = scan(whole.folder)
    assert data.paths == whole.paths
    assert data.classes == CLASSES
    reordered = from_names(["red fox", "cat", "F-16A/B", "more"])
    assert scan(whole.folder, reordered).labels == [1] * 4 + [2] * 4 + [0] * 4
    assert scan(whole.folder / "images", CLASSES).labels.count(1) == 4
    with pytest.raises(UsageError, match="'red fox', which is not one of the 2"):
        scan(whole.folder, from_names(["cat", "F-16A/B"]))


def test_pixels_do_not_depend_on_the_batch_beyond_rounding(whole, diffusion, tmp_path):
    alone = draw(tmp_path / "out", diffusion, batch_size=1)
    for one, other in zip(alone.paths, whole.paths, strict=True):
        difference = np.asarray(Image.open(one), int) - np.asarray(Image.open(other), int)
        assert np.abs(difference).max() <= 1


def test_killed_at_any_moment_it_ends_in_the_same_images(whole, diffusion, tmp_path):
    out = tmp_path / "out"
    fork = multiprocessing.get_context("fork")
    for lines in (1, 5, 8):
        process = fork.Process(target=draw, args=(out, diffusion))
        process.start()
        while len(read_lines(out / "manifest.jsonl")) < lines and process.is_alive():
            time.sleep(0.001)
        process.kill()
        process.join()
        assert process.exitcode == -9
    with pytest.raises(HoldfastError, match="still lacks"):
        scan(out)
    assert hashes(draw(out, diffusion)) == hashes(whole)
    lines = read_lines(out / "manifest.jsonl")
    assert len(lines) == len({(line["class_id"], line["index"]) for line in lines}) == 12
    assert [path.name for path in out.rglob(".*")] == [LOCK]


def test_what_is_missing_or_changed_is_drawn_again(whole, diffusion, tmp_path):
    out = tmp_path / "out"
    first = draw(out, diffusion)
    first.paths[0].unlink()
    first.paths[7].write_bytes(b"x")
    manifest = out / "manifest.jsonl"
    cut = manifest.read_bytes()[:-10]
    manifest.write_bytes(cut)
    (out / "images" / "cat" / ".00000.png.1.holdfast-tmp").write_bytes(b"")
    assert hashes(draw(out, diffusion)) == hashes(whole)
    assert len(read_lines(manifest)) == 12
    before = manifest.read_bytes()
    draw(out, diffusion)
    assert manifest.read_bytes() == before


def test_a_folder_grows_and_fewer_images_are_its_first(whole, diffusion, tmp_path):
    out = tmp_path / "out"
    few = draw(out, diffusion, per_class=1, batch_size=3)
    assert len(few.records) == 3
    more = draw(out, diffusion, batch_size=3)
    straight = draw(tmp_path / "straight", diffusion, batch_size=3)
    assert hashes(more) == hashes(straight)
    fewer = draw(out, diffusion, per_class=2, batch_size=3)
    assert [record.index for record in fewer.records] == [0, 1] * 3
    assert len(scan(out)) == 6
    assert len(list(out.rglob("*.png"))) == 12


def test_each_class_can_have_its_own_number_of_images(whole, diffusion, tmp_path):
    uneven = draw(tmp_path / "out", diffusion, counts=[3, 1, 4], batch_size=12)
    assert uneven.labels == [0] * 3 + [1] + [2] * 4
    seeds = {record.file: record.seed for record in whole.records}
    assert all(seeds[record.file] == record.seed for record in uneven.records)
    (tmp_path / "out" / uneven.records[-1].file).unlink()
    again = draw(tmp_path / "out", diffusion, counts=[3, 1, 4], batch_size=12)
    assert hashes(again) == hashes(uneven)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"guidance": 7.5}, r"guidance 5\.0, now 7\.5"),
        ({"steps": 3, "seed": 1}, "seed 0, now 1, steps 2, now 3"),
        ({"prompts": [["x"]] * 3}, "other prompts"),
    ],
)
def test_other_settings_need_another_folder(whole, diffusion, changes, message):
    before = (whole.folder / "generation.json").read_bytes()
    with pytest.raises(UsageError, match=message):
        draw(whole.folder, diffusion, **changes)
    assert (whole.folder / "generation.json").read_bytes() == before


def test_a_folder_of_someone_else_is_left_alone(diffusion, tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(UsageError, match="not ours"):
        draw(tmp_path, diffusion)
    (tmp_path / "file").write_text("")
    with pytest.raises(HoldfastError, match="Cannot write to"):
        draw(tmp_path / "file" / "out", diffusion)


def test_generators_take_turns_and_are_never_two_in_memory(whole, diffusion, tmp_path, monkeypatch):
    import tiny

    other = tiny.diffusion_folder(tmp_path / "other", seed=1)
    loads, load = [], pipeline._load

    def watched(*arguments):
        assert all(reference() is None for reference in loads)
        run = load(*arguments)
        loads.append(weakref.ref(run))
        return run

    monkeypatch.setattr(pipeline, "_load", watched)
    manifest = draw(tmp_path / "out", f"{diffusion}, {other}")
    assert len(loads) == 2
    assert [r.generator for r in manifest.records[:4]] == ["tiny-diffusion", "other"] * 2
    assert manifest.records[0].revision != manifest.records[1].revision
    # Once all is there, nothing is loaded.
    draw(tmp_path / "out", f"{diffusion}, {other}")
    assert len(loads) == 2


class Flawed:
    """Stands for a pipeline whose pictures of some prompts come out black so many times."""

    def __init__(self, times, value=0.0):
        self.times, self.value = times, value
        self.drawn = []

    def __call__(self, pipe, prompts, seeds, settings):
        self.drawn.append(list(seeds))
        pictures = [np.random.default_rng(seed).random((8, 8, 3)) for seed in seeds]
        if len(self.drawn) <= self.times:
            pictures = [
                np.full((8, 8, 3), self.value) if "fox" in prompt else picture
                for prompt, picture in zip(prompts, pictures, strict=True)
            ]
        return pictures

    def install(self, monkeypatch):
        monkeypatch.setattr(pipeline.Pipeline, "draw", lambda *a: self(*a))


@pytest.mark.parametrize("value", [0.0, 0.7, np.nan])
def test_flawed_images_are_drawn_again_from_a_recorded_seed(
    diffusion, tmp_path, monkeypatch, value
):
    flawed = Flawed(2, value)
    flawed.install(monkeypatch)
    manifest = draw(tmp_path, diffusion, per_class=1)
    assert [len(seeds) for seeds in flawed.drawn] == [3, 1, 1]
    assert [record.attempt for record in manifest.records] == [0, 0, 2]
    assert manifest.records[2].seed == derive_seed(0, "red_fox", 0, 2)
    assert manifest.redraws == 2


def test_an_image_that_never_comes_out_is_missing_and_its_class_goes_on(
    diffusion, tmp_path, monkeypatch, caplog
):
    flawed = Flawed(3)  # the first batch of five has one fox, and it stays black
    flawed.install(monkeypatch)
    manifest = draw(tmp_path, diffusion, redraws=2)
    assert manifest.labels == [0] * 4 + [1] * 4 + [2] * 3
    assert [record.index for record in manifest.records[8:]] == [1, 2, 3]
    [image] = manifest.missing
    assert (image.name, image.index, image.flaw, image.tries) == ("red fox", 0, "black", 3)
    note = "1 of 12 images could not be drawn and are missing: 1 of 'red fox' (black)."
    assert manifest.missing_note == note
    assert caplog.messages == [note]
    assert len(scan(tmp_path)) == 11

    before = len(flawed.drawn)
    assert draw(tmp_path, diffusion, redraws=2) == manifest
    assert len(flawed.drawn) == before, "it is not tried again"
    more = draw(tmp_path, diffusion, redraws=3)
    assert not more.missing and more.missing_note is None
    assert len(more.records) == 12 and more.records[8].attempt == 0
    assert {**hashes(more), **hashes(manifest)} == hashes(more)


def test_a_class_that_is_blanked_half_the_time_is_drawn(diffusion, tmp_path, monkeypatch):
    blank = np.random.default_rng(0)

    def half(pipe, prompts, seeds, settings):
        return [
            np.zeros((8, 8, 3)) if "fox" in p and blank.random() < 0.5 else blank.random((8, 8, 3))
            for p in prompts
        ]

    monkeypatch.setattr(pipeline.Pipeline, "draw", half)
    manifest = draw(tmp_path, diffusion, per_class=40, redraws=1)
    assert manifest.labels.count(0) == manifest.labels.count(1) == 40
    foxes = manifest.labels.count(2)
    assert 20 < foxes < 39 and foxes + len(manifest.missing) == 40


def test_a_pipeline_that_draws_nothing_is_found_early(diffusion, tmp_path, monkeypatch):
    drawn = []

    def nothing(pipe, prompts, seeds, settings):
        drawn.extend(prompts)
        return [np.full((8, 8, 3), np.nan)] * len(prompts)

    monkeypatch.setattr(pipeline.Pipeline, "draw", nothing)
    message = (
        "No image could be drawn: the first, of the class 'cat', came out not a number 2 times"
    )
    with pytest.raises(HoldfastError, match=message):
        draw(tmp_path / "many", diffusion, per_class=100, redraws=1)
    assert len(drawn) == 2 * 20, "four batches of five, each drawn twice"
    for _ in range(2):  # also where all was given up before
        with pytest.raises(HoldfastError, match=message):
            draw(tmp_path / "few", diffusion, per_class=1, redraws=1)


def test_the_safety_checker_is_off_unless_it_is_asked_for(tmp_path):
    import tiny

    checked = tiny.checked_diffusion_folder(tmp_path / "checked")
    assert len(draw(tmp_path / "off", checked, per_class=1).records) == 3
    with pytest.raises(HoldfastError, match=r"came out black 1 times.*turn the safety checker off"):
        draw(tmp_path / "on", checked, per_class=1, safety_checker=True, redraws=0)
    with pytest.raises(UsageError, match="safety_checker False, now True"):
        draw(tmp_path / "off", checked, per_class=1, safety_checker=True)


def test_prompts_that_the_generator_cannot_read_whole_are_named(diffusion, tmp_path, caplog):
    long = "small details " * 20
    prompts = [["a cat"], [long], [long + "of a fox"]]
    draw(tmp_path, diffusion, prompts, per_class=1)
    [warning] = caplog.messages
    assert warning.startswith("2 of 3 prompts are longer than the 77 tokens that tiny-diffusion")
    assert repr(f"{long[:80]}...") in warning


def test_disk_full_is_one_sentence_and_costs_nothing(whole, diffusion, tmp_path, monkeypatch):
    sync, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) == 20:
            raise OSError(28, "No space left on device")
        sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(HoldfastError, match=r"Cannot write .*No space left on device"):
            draw(tmp_path, diffusion)
    assert hashes(draw(tmp_path, diffusion)) == hashes(whole)


def test_pictures_can_be_stored_at_the_models_size(whole, diffusion, tmp_path):
    """As RegFT's code stores them: drawn at the pipeline's own size, then resized."""
    small = draw(tmp_path / "out", diffusion, per_class=1, resize=16)
    for record, path in zip(small.records, small.paths, strict=True):
        drawn = next(
            p for r, p in zip(whole.records, whole.paths, strict=True) if r.seed == record.seed
        )
        with Image.open(path) as stored, Image.open(drawn) as full:
            assert stored.size == (record.width, record.height) == (16, 16)
            expected = full.resize((16, 16), Image.Resampling.BICUBIC)
            assert np.abs(np.int32(stored) - np.int32(expected)).max() <= 2, "up to rounding"
    # A folder holds pictures of one size, those of earlier versions too, which say nothing of it.
    with pytest.raises(UsageError, match="resize 16, now None"):
        draw(tmp_path / "out", diffusion, per_class=1)
    settings = whole.folder / SETTINGS
    known = read_sealed(settings)
    try:
        write_sealed(settings, {key: value for key, value in known.items() if key != "resize"})
        with pytest.raises(UsageError, match="resize None, now 16"):
            draw(whole.folder, diffusion, resize=16)
    finally:
        write_sealed(settings, known)


def test_images_are_saved_beside_the_drawing(whole, diffusion, tmp_path, monkeypatch):
    """The first waits until the second batch is drawn; all end as they do without waiting."""
    drawn, second = [], threading.Event()
    draw_batch, save = pipeline.Pipeline.draw, images._save

    def watched(self, prompts, *given):
        drawn.append(len(prompts))
        if len(drawn) == 2:
            second.set()
        return draw_batch(self, prompts, *given)

    def late(*given):
        assert second.wait(60)
        save(*given)

    monkeypatch.setattr(pipeline.Pipeline, "draw", watched)
    monkeypatch.setattr(images, "_save", late)
    assert draw(tmp_path, diffusion).records == whole.records
    assert drawn == [5, 5, 2]
