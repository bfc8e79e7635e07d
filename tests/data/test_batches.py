import logging
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from holdfast.data.batches import (
    Batch,
    ContinualBatches,
    FixedStepBatches,
    TrainingBatches,
    epoch_order,
    sequential_batches,
)
from holdfast.data.decoding import CACHE_BYTES
from holdfast.data.folders import scan
from holdfast.errors import HoldfastError
from holdfast.files import derive_seed


def noisy(image):
    """An augmentation that draws from every generator a transform may use."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
    return pixels + torch.randn(3, 1, 1) + random.random() + np.random.rand()


@pytest.fixture
def data(tmp_path):
    for number in range(10):
        folder = tmp_path / "ab"[number % 2]
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (number, 0, 0)).save(folder / f"{number}.png")
    return scan(tmp_path)


def batches_of(data, **changes):
    options = {"batch_size": 4, "epochs": 3, "seed": 0, "workers": 0} | changes
    return TrainingBatches(data, noisy, **options)


def same(one, other):
    return all(
        torch.equal(getattr(one, field), getattr(other, field))
        for field in ("images", "labels", "indices")
    )


def all_same(one, other):
    return all(same(*pair) for pair in zip(one, other, strict=True))


def test_every_epoch_sees_every_image_once(data):
    source = batches_of(data)
    seen = list(source(0))
    assert len(source) == len(seen) == 9
    assert [len(batch.labels) for batch in seen] == [4, 4, 2] * 3
    epochs = [torch.cat([b.indices for b in seen[i : i + 3]]).tolist() for i in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    for batch in seen:
        assert batch.labels.tolist() == [data.labels[i] for i in batch.indices.tolist()]


def test_a_step_depends_on_nothing_before_it(data):
    whole = list(batches_of(data)(0))
    for start in (1, 4, 8):
        rest = list(batches_of(data)(start))
        assert len(rest) == 9 - start
        assert all_same(rest, whole[start:])
    assert not same(whole[0], next(batches_of(data, seed=1)(0)))
    uncached = batches_of(data, cache_bytes=0)
    assert all_same(uncached(0), whole)
    assert not uncached.decode.kept


def noise_of(source):
    """What the augmentation added to each image, by (epoch, index): the pictures are flat."""
    found = {}
    for step, batch in enumerate(source(0)):
        for index, image in zip(batch.indices.tolist(), batch.images, strict=True):
            red = float(source.data.paths[index].stem)
            found[step // source.steps_per_epoch, index] = round(float(image[0, 0, 0]) - red, 4)
    return found


def test_an_image_is_augmented_anew_in_each_epoch(data):
    found = noise_of(batches_of(data))
    assert len(set(found.values())) == len(found) == 30
    # It does not depend on what else is in the batch, or on the order.
    assert noise_of(batches_of(data, batch_size=3)) == found
    other = noise_of(batches_of(data, seed=1))
    assert all(other[key] != found[key] for key in found)


def test_workers_change_nothing(data):
    states = random.getstate(), torch.get_rng_state()
    whole = list(batches_of(data, epochs=1)(0))
    parallel = list(batches_of(data, epochs=1, workers=2)(0))
    assert all_same(whole, parallel)
    # Training draws from the global generators: loading leaves them as they were.
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])


class Where:
    """A transform that says which process it ran in."""

    def __call__(self, image):
        return torch.full((1,), os.getpid())


@pytest.mark.parametrize("kind", ["epochs", "steps", "once"])
def test_workers_are_other_processes_and_begin_where_they_should(data, kind):
    def pids(workers):
        if kind == "once":
            batches = sequential_batches(data, Where(), 4, workers)
        elif kind == "steps":
            batches = FixedStepBatches(data, Where(), 4, 3, seed=0, workers=workers)(1)
        else:
            batches = TrainingBatches(data, Where(), 4, 1, seed=0, workers=workers)(1)
        found = list(batches)
        assert len(found) == (3 if kind == "once" else 2)
        return {int(pid) for batch in found for pid in batch.images}

    assert pids(0) == {os.getpid()}
    elsewhere = pids(64)  # no more than there are processors
    assert os.getpid() not in elsewhere and 1 <= len(elsewhere) <= (os.cpu_count() or 1)
    steps = [batch.indices for batch in steady(data, workers=1)(2)]
    assert all(map(torch.equal, steps, [batch.indices for batch in steady(data)(2)]))


def test_pictures_are_kept_in_this_process_alone(data):
    assert batches_of(data, workers=1).decode.room == 0
    here = batches_of(data, epochs=1)
    assert here.decode.room == CACHE_BYTES
    list(here())
    assert set(here.decode.kept) == set(data.paths)


def test_the_augmentation_is_pinned(data):
    # A checkpoint of an older version must find the same pixels.
    batch = next(batches_of(data)())
    for index, image in zip(batch.indices.tolist(), batch.images, strict=True):
        seed = derive_seed(0, "augmentation", 0, index)
        random.seed(seed), np.random.seed(seed % 2**32), torch.manual_seed(seed)
        assert torch.equal(image, noisy(Image.open(data.paths[index])))


def test_the_order_is_pinned():
    # A checkpoint of an older version must find the same order.
    assert epoch_order(6, 0, 0) == (4, 2, 5, 1, 0, 3)
    assert sorted(epoch_order(1000, 7, 3)) == list(range(1000))


@pytest.mark.parametrize("workers", [0, 1])
def test_the_next_image_stands_in_for_an_unreadable_one(data, caplog, workers):
    bad = data.paths[3]
    bad.write_bytes(bad.read_bytes()[:40])
    source = batches_of(data, epochs=2, workers=workers)
    with caplog.at_level(logging.WARNING):
        seen = list(source(0))
    assert [len(batch.labels) for batch in seen] == [4, 4, 2] * 2
    indices = torch.cat([batch.indices for batch in seen[:3]]).tolist()
    order = list(epoch_order(10, 0, 0))
    place = order.index(3)
    order[place] = order[(place + 1) % 10]
    assert indices == order
    assert source.unreadable == {bad}
    [warning] = [record.getMessage() for record in caplog.records]
    assert warning.startswith(f"Cannot read the image {bad}: ")
    assert warning.endswith(". It is skipped.")


def test_several_unreadable_images_in_a_row(data):
    first, second, third = epoch_order(10, 0, 0)[:3]
    for index in (first, second):
        data.paths[index].write_bytes(b"")
    source = batches_of(data, epochs=1)
    seen = torch.cat([batch.indices for batch in source()]).tolist()
    assert seen[:3] == [third, third, third] and len(seen) == 10
    assert source.unreadable == {data.paths[first], data.paths[second]}


def test_no_readable_image_is_an_error(data):
    for path in data.paths:
        path.write_bytes(b"")
    with pytest.raises(HoldfastError) as caught:
        next(batches_of(data)(0))
    assert str(caught.value) == "None of the training images can be read; see those named."
    assert list(sequential_batches(data, noisy, 4)) == []


def plain(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.mark.parametrize("workers", [0, 1])
def test_evaluation_keeps_the_order_and_names_what_it_skips(data, caplog, workers):
    data.paths[4].write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        seen = list(sequential_batches(data, plain, 4, workers))
    assert torch.cat([b.indices for b in seen]).tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    red = torch.cat([b.images[:, 0, 0, 0] for b in seen]).tolist()
    assert red == [0, 2, 4, 6, 1, 3, 5, 7, 9]
    skipped, counted = (record.getMessage() for record in caplog.records)
    assert str(data.paths[4]) in skipped and counted == "1 of 10 images could not be read."


def steady(data, steps=6, batch_size=4, **options):
    return FixedStepBatches(data, noisy, batch_size, steps, **{"seed": 0} | options)


def test_steady_batches_run_through_the_epochs_without_a_break(data):
    seen = [batch.indices.tolist() for batch in steady(data)(0)]
    assert [len(indices) for indices in seen] == [4] * 6
    flat = [index for indices in seen for index in indices]
    assert flat[:20] == [*epoch_order(10, 0, 0), *epoch_order(10, 0, 1)]


def test_steady_batches_resume_with_the_same_pixels(data):
    whole, rest = list(steady(data)(0)), list(steady(data)(2))
    assert len(rest) == 4
    for one, other in zip(whole[2:], rest, strict=True):
        assert torch.equal(one.images, other.images)


def test_steady_batches_depend_on_their_seed(data):
    first, other = (next(steady(data, seed=seed)()) for seed in (0, 1))
    assert not torch.equal(first.indices, other.indices)
    assert len(list(steady(data)())) == len(steady(data)) == 6


def test_a_steady_batch_is_no_larger_than_the_data(data):
    for batch in steady(data, batch_size=64)(0):
        assert sorted(batch.indices.tolist()) == list(range(10))


def test_a_replayed_batch_goes_with_each_batch_of_the_task(data):
    replayed = FixedStepBatches(data, plain, 2, 6, seed=5)
    source = ContinualBatches(steady(data), replayed)
    assert len(source) == 6
    found = list(source(4))
    assert all_same(found, list(steady(data)(4)))
    assert all_same([batch.replay for batch in found], list(replayed(4)))
    assert len(list(source())) == 6
    with pytest.raises(ValueError, match="shorter"):
        list(ContinualBatches(steady(data), FixedStepBatches(data, plain, 2, 5, seed=5))())
    alone = list(ContinualBatches(steady(data), None)(4))
    assert all_same(alone, found) and [batch.replay for batch in alone] == [None, None]


def test_what_a_batch_may_lack():
    batch = Batch(torch.zeros(1, 3, 2, 2), torch.zeros(1), torch.zeros(1))
    assert (batch.teacher_images, batch.teacher_text, batch.replay) == (None, None, None)


def test_a_script_without_a_guard_runs_once_where_processes_are_spawned(pictures, tmp_path):
    """As on macOS and Windows; each worker would begin with the script, and start workers."""
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing, sys; multiprocessing.set_start_method('spawn')\n"
        "print('begun', flush=True)\n"
        "from pathlib import Path; from torchvision.transforms import ToTensor\n"
        "from holdfast.data.batches import sequential_batches\n"
        "from holdfast.data.folders import scan\n"
        f"batches = sequential_batches(scan(Path({str(pictures)!r})), ToTensor(), 15, workers=1)\n"
        "print(sum(len(batch.labels) for batch in batches), __file__ == sys.argv[0])\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["begun", "30 True"], done.stderr
