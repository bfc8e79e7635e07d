import errno
import hashlib
import json
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from holdfast.data.domains import scan_domains
from holdfast.data.pictures import UnreadableImage
from holdfast.data.views import View, Views, draw_parameters
from holdfast.errors import DamagedFile, HoldfastError
from holdfast.files import write_sealed
from holdfast.settings import ViewSettings
from holdfast.teachers.ledger import BudgetExhausted
from holdfast.teachers.store import EmbeddingStore
from holdfast.teachers.teacher import NotTaken, unit_rows

SETTINGS = ViewSettings()


class FakeTeacher:
    """Answers a function of what it is asked, and remembers what that was."""

    name = "fake"
    free = False
    logit_scale = 100.0

    def __init__(self, identity="fake 1", batch=4, dim=8, asked=None, change=None):
        self.identity, self.batch, self.dim, self.change = identity, batch, dim, change
        self.asked = [] if asked is None else asked

    def embed_images(self, views):
        return self._embed([view.key for view in views])

    def embed_text(self, prompts):
        return self._embed(prompts)

    def _embed(self, keys):
        self.asked.append(list(keys))
        rows = torch.stack([row_of(key, self.dim) for key in keys])
        return self.change(rows) if self.change else rows


def row_of(key, dim=8):
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")
    row = torch.from_numpy(np.random.default_rng(seed).standard_normal(dim)).float()
    return row / row.norm()


def views_of(images=6, count=1):
    """Rounds of views of images that no file holds: nothing here may read pixels."""
    found = []
    for number in range(count):
        names = [hashlib.sha256(f"image {n}".encode()).hexdigest() for n in range(images)]
        found.append([View(Path(n), n, draw_parameters(SETTINGS, n, number, 0)) for n in names])
    return found


def flat(rounds):
    return [view for views in rounds for view in views]


def files_of(store):
    return {name: (store.folder / name).read_bytes() for name in ("embeddings.f16", "keys")}


def lines_of(store):
    return [json.loads(line) for line in (store.folder / "ledger.jsonl").read_text().splitlines()]


def test_what_is_stored_is_what_was_answered(tmp_path):
    teacher = FakeTeacher()
    store = EmbeddingStore(tmp_path, teacher)
    rounds = views_of(6, 2)
    assert store.missing(flat(rounds)) == flat(rounds)
    store.fill(*rounds)
    expected = torch.stack([row_of(view.key) for view in flat(rounds)])
    found = store.images(flat(rounds))
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 1e-3
    assert (found.norm(dim=1) - 1).abs().max() < 1e-6
    assert torch.equal(store.images(flat(rounds)[::-1]), found.flip(0))
    assert store.images([]).shape == (0, 8)
    # All images' first views come first, four to a request; a round ends its last one early.
    assert teacher.asked == [[v.key for v in views[i : i + 4]] for views in rounds for i in (0, 4)]


def test_nothing_is_asked_twice(tmp_path):
    rounds = views_of(6, 2)
    EmbeddingStore(tmp_path, FakeTeacher()).fill(rounds[0])
    again = FakeTeacher()
    store = EmbeddingStore(tmp_path, again)
    assert rounds[0][0] in store and rounds[1][0] not in store
    store.fill(rounds[0])
    assert again.asked == []
    store.fill(rounds[0], rounds[1], rounds[1])
    assert [key for batch in again.asked for key in batch] == [view.key for view in rounds[1]]
    assert store.ledger.spent == 12


def test_the_same_content_in_two_places_is_asked_once(tmp_path):
    one = views_of(1)[0][0]
    twin = View(Path("elsewhere"), one.digest, one.parameters)
    teacher = FakeTeacher()
    store = EmbeddingStore(tmp_path, teacher)
    store.fill([one, twin])
    assert teacher.asked == [[one.key]]
    assert torch.equal(*store.images([one, twin]))


def test_text_is_paid_once(tmp_path):
    teacher = FakeTeacher()
    store = EmbeddingStore(tmp_path, teacher)
    prompts = ["a cat", "a dog", "a cat", "an owl", "a fox", "a bee"]
    found = store.text(prompts)
    assert (found - torch.stack([row_of(prompt) for prompt in prompts])).abs().max() < 1e-3
    assert teacher.asked == [["a cat", "a dog", "an owl", "a fox"], ["a bee"]]
    again = EmbeddingStore(tmp_path, teacher)
    assert torch.equal(again.text(["a dog", "a cat"]), found[[1, 0]])
    assert len(teacher.asked) == 2
    assert (again.ledger.images, again.ledger.texts, again.ledger.spent) == (0, 5, 5)


def test_each_teacher_has_a_folder(tmp_path):
    views = views_of()[0]
    one = EmbeddingStore(tmp_path, FakeTeacher("one"))
    one.fill(views)
    other = EmbeddingStore(tmp_path, FakeTeacher("two", dim=5))
    assert len(other.missing(views)) == len(views)
    other.fill(views)
    assert one.images(views).shape == (6, 8) and other.images(views).shape == (6, 5)
    assert other.ledger.spent == 6
    about = json.loads((one.folder / "about.json").read_text())
    assert about.pop("sha256")
    assert about == {"identity": "one", "dim": 8, "dtype": "float16", "version": 2}
    rows = np.fromfile(one.folder / "embeddings.f16", "<f2").reshape(6, 8)
    assert np.abs(rows[3] - row_of(views[3].key).numpy()).max() < 1e-3


def test_the_plan_counts_without_asking(tmp_path):
    teacher = FakeTeacher()
    store = EmbeddingStore(tmp_path, teacher)
    rounds = views_of(6, 3)
    store.fill(rounds[1])
    store.text(["a"])
    asked = len(teacher.asked)
    plan = store.plan([*flat(rounds), rounds[0][0]], ["a", "b", "c", "b"])
    assert (plan.images, plan.stored_images, plan.texts, plan.stored_texts) == (12, 6, 2, 1)
    assert len(teacher.asked) == asked


def test_the_ledger_tells_what_was_asked_and_answered(tmp_path):
    store = EmbeddingStore(tmp_path, FakeTeacher())
    store.ledger.run = "a"
    store.fill(views_of(6)[0])
    own = ("time", "crc32")
    assert [{k: v for k, v in line.items() if k not in own} for line in lines_of(store)] == [
        {"request": 0, "images": 4, "texts": 0, "purpose": "store", "run": "a"},
        {"answered": 0, "rows": 4},
        {"request": 1, "images": 2, "texts": 0, "purpose": "store", "run": "a"},
        {"answered": 1, "rows": 2},
    ]
    assert all(line["time"].endswith("+00:00") for line in lines_of(store))
    assert (store.ledger.spent, store.ledger.unanswered) == (6, 0)


def test_runs_that_share_a_store_know_their_own_queries(tmp_path):
    for run, count in (("a", 4), ("b", 6), ("a", 9)):
        store = EmbeddingStore(tmp_path, FakeTeacher())
        store.ledger.run = run
        store.fill(views_of(12)[0][:count])
    assert (store.ledger.spent_by_run, store.ledger.spent) == (7, 9)
    store.ledger.run = "b"
    assert store.ledger.spent_by_run == 2


def test_of_an_answer_with_a_broken_row_the_rest_is_kept_and_the_image_named(tmp_path):
    views = views_of(4)[0]

    def broken(rows):
        rows = rows.clone()
        rows[2] = math.nan
        return rows

    store = EmbeddingStore(tmp_path, FakeTeacher(change=lambda rows: unit_rows(broken(rows), "It")))
    with pytest.raises(HoldfastError, match=r"row 2 of 4 is not finite .*that of \w+\)") as caught:
        store.fill(views)
    assert str(views[2].path) in str(caught.value)
    assert store.missing(views) == [views[2]]
    assert (store.ledger.spent, store.ledger.unanswered) == (4, 0)


def test_an_image_that_cannot_be_read_any_more_costs_nothing(tmp_path):
    def unreadable(rows):
        raise UnreadableImage(Path("gone.png"), "it is gone")

    store = EmbeddingStore(tmp_path, FakeTeacher(change=unreadable))
    with pytest.raises(UnreadableImage):
        store.fill(views_of(4)[0])
    assert store.ledger.spent == 0


def test_what_nobody_took_is_not_spent(tmp_path):
    """A service that is down, or refuses the key, costs nothing of a budget that just suffices."""

    def refuse(rows):
        raise NotTaken("refused")

    views = views_of(6)[0]
    store = EmbeddingStore(tmp_path, FakeTeacher(change=refuse), max_queries=6)
    for ask in (lambda: store.fill(views), lambda: store.text(["a"])):
        with pytest.raises(NotTaken):
            ask()
    assert [line.get("withdrawn") for line in lines_of(store)] == [None, 0, None, 1]
    again = EmbeddingStore(tmp_path, FakeTeacher(), max_queries=6)
    assert (again.ledger.spent, again.ledger.unanswered) == (0, 0)
    again.fill(views)
    assert again.ledger.spent == 6


def test_a_budget_ends_with_whole_views(tmp_path):
    rounds = views_of(6, 4)
    teacher = FakeTeacher()
    store = EmbeddingStore(tmp_path, teacher, max_queries=17)
    with pytest.raises(BudgetExhausted) as error:
        store.fill(*rounds)
    assert str(error.value) == (
        "The budget of 17 queries ends after 2 of 4 views of each image (12 are spent); go on with "
        "these by --views 2, or raise --max_queries to 24 or more."
    )
    assert store.ledger.spent == 12
    store.fill(*rounds[:2])
    assert store.images(flat(rounds[:2])).shape == (12, 8)
    # The budget is that of the ledger, whatever run spends it.
    again = EmbeddingStore(tmp_path, teacher, max_queries=24)
    again.fill(*rounds)
    assert again.ledger.spent == 24 and again.ledger.left == 0


def test_a_budget_too_small_for_one_view_spends_nothing(tmp_path):
    teacher = FakeTeacher()
    store = EmbeddingStore(tmp_path, teacher, max_queries=5)
    message = (
        r"budget of 5 queries is too small: 0 are spent, and the first view of the images needs 6 "
        r"more; raise --max_queries to 12 or more \(to 6 for one view\)\."
    )
    with pytest.raises(BudgetExhausted, match=message):
        store.fill(*views_of(6, 2))
    with pytest.raises(BudgetExhausted, match=r"to 6 or more \(--dry_run"):
        store.fill(*views_of(6, 1))
    message = r"budget of 5 queries is spent \(0 so far\) and 6 more are needed; raise --max_q"
    with pytest.raises(BudgetExhausted, match=message):
        store.text(list("abcdef"))
    assert teacher.asked == [] and store.ledger.spent == 0


def test_a_free_teacher_is_not_charged(tmp_path):
    teacher = FakeTeacher()
    teacher.free = True
    store = EmbeddingStore(tmp_path, teacher, max_queries=0)
    store.fill(*views_of(6, 2))
    store.text(["a"])
    assert store.ledger.spent == 0 and len(store.missing(flat(views_of(6, 2)))) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: rows[:, :5],
            r"answered with embeddings of shape \(4, 5\) where \(4, 8\) was",
        ),
        (lambda rows: rows[:-1], r"shape \(3, 8\) where \(4, 8\)"),
        (lambda rows: rows * torch.nan, "The teacher fake: .* not finite"),
        (lambda rows: rows * 0, "The teacher fake: .* zero"),
    ],
)
def test_answers_that_cannot_be_used_are_not_kept(tmp_path, change, message):
    views = views_of(8)[0]
    store = EmbeddingStore(tmp_path, FakeTeacher())
    store.fill(views[:4])
    before = files_of(store)
    store.teacher = FakeTeacher(change=change)
    with pytest.raises(HoldfastError, match=message):
        store.fill(views)
    assert files_of(store) == before
    assert (store.ledger.spent, store.ledger.unanswered) == (8, 4)
    store.teacher = FakeTeacher()
    store.fill(views)
    assert (store.ledger.spent, store.ledger.unanswered) == (12, 4)


def test_views_that_were_never_asked_for_are_an_error(tmp_path):
    views = views_of(6)[0]
    store = EmbeddingStore(tmp_path, FakeTeacher())
    store.fill(views[:4])
    with pytest.raises(HoldfastError, match=r"lacks 2 of 6 embeddings, that of \w+ among them"):
        store.images(views)


def test_only_one_process_asks_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("holdfast.teachers.store.WAIT", 0.1)
    views = views_of(12)[0]
    store = EmbeddingStore(tmp_path, FakeTeacher())
    store.fill(views[:4])

    def meanwhile(rows):
        other = EmbeddingStore(tmp_path, FakeTeacher())
        assert other.images(views[:4]).shape == (4, 8)  # reading is free
        with pytest.raises(HoldfastError, match="Another process is asking the teacher for "):
            other.fill(views)
        assert other.ledger.spent == 8
        return rows

    store.teacher = FakeTeacher(change=meanwhile)
    store.fill(views[:8])
    late = EmbeddingStore(tmp_path, FakeTeacher())
    store.teacher = FakeTeacher()
    store.fill(views)
    # A store that was opened before another one asked sees what was added once it asks itself.
    late.teacher = FakeTeacher()
    late.fill(views)
    assert late.teacher.asked == []
    assert torch.equal(late.images(views), store.images(views))
    assert late.ledger.spent == 12


def test_a_folder_that_was_tampered_with_is_refused(tmp_path):
    store = EmbeddingStore(tmp_path, FakeTeacher())
    store.fill(views_of()[0])
    about = store.folder / "about.json"
    text = about.read_text()
    write_sealed(about, json.loads(text.replace("fake 1", "fake 2")))
    with pytest.raises(HoldfastError, match="tells of another teacher"):
        EmbeddingStore(tmp_path, FakeTeacher())
    about.unlink()
    with pytest.raises(HoldfastError, match=r"about\.json is gone"):
        EmbeddingStore(tmp_path, FakeTeacher())
    about.write_text(text)
    (store.folder / "keys").unlink()
    with pytest.raises(HoldfastError, match="was emptied while it was in use"):
        store.fill(views_of(12)[0])


def run_and_die(folder, log, event):
    """Fill a store in a process that kills itself at its `event`-th chance; True if it lived.

    The chances are before and after each sync of a file, and before and after each answer.
    """
    child = os.fork()
    if child == 0:
        chances = iter(range(event))

        def chance():
            if next(chances, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        def sync(number, sync=os.fsync):
            chance()
            sync(number)
            chance()

        def answer(rows):
            chance()
            return rows

        class Logged(list):
            def append(self, keys):
                with log.open("a") as file:
                    file.write(json.dumps(keys) + "\n")
                chance()

        os.fsync = sync
        fill_all(folder, FakeTeacher(asked=Logged(), change=answer))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status == 0


def fill_all(folder, teacher):
    return ask_all(EmbeddingStore(folder, teacher))


def ask_all(store):
    store.text(["a", "b"])
    store.fill(*views_of(4, 2), bar=False)
    return store


def test_a_kill_at_any_point_costs_at_most_the_request_in_flight(tmp_path):
    whole = fill_all(tmp_path / "whole", FakeTeacher())
    expected = files_of(whole)
    event, lived = 0, False
    while not lived:
        event += 1
        folder, log = tmp_path / str(event), tmp_path / f"{event}.log"
        lived = run_and_die(folder, log, event)
        teacher = FakeTeacher()
        store = fill_all(folder, teacher)
        assert files_of(store) == expected
        assert not list(store.folder.glob(".*"))
        before = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        repeated = [batch for batch in teacher.asked if batch in before]
        assert len(repeated) <= 1
        asked = [key for batch in before + teacher.asked for key in batch]
        assert len(asked) - len(set(asked)) == sum(map(len, repeated))
        # What was asked is never more than the ledger says, which may hold one request unsent.
        assert len(asked) <= store.ledger.spent <= len(asked) + 4
        assert store.ledger.unanswered <= 4
    assert event > 3 * 10  # each request has that many chances


def test_kills_one_after_the_other_lose_no_more(tmp_path):
    log = tmp_path / "log"
    deaths = 0
    while not run_and_die(tmp_path / "store", log, 11):
        deaths += 1
    assert deaths >= 2
    store = EmbeddingStore(tmp_path / "store", FakeTeacher())
    assert files_of(store) == files_of(fill_all(tmp_path / "whole", FakeTeacher()))
    asked = [key for line in log.read_text().splitlines() for key in json.loads(line)]
    assert len(set(asked)) == 10 and len(asked) <= 10 + 4 * deaths


@pytest.mark.parametrize(("rows", "keys"), [(3, 0), (5 * 16, 0), (16, 7), (16 * 4, 40 * 2 + 39)])
def test_a_tail_cut_anywhere_is_cut_off(tmp_path, rows, keys):
    store = fill_all(tmp_path, FakeTeacher())
    expected = files_of(store)
    sizes = {"embeddings.f16": 6 * 16 + rows, "keys": 6 * 40 + keys}
    for name, size in sizes.items():
        (store.folder / name).write_bytes((expected[name] + b"\xff" * 999)[:size])
    ledger = store.folder / "ledger.jsonl"  # the kill came before the answer was noted
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:-1]))
    again = FakeTeacher()
    assert files_of(fill_all(tmp_path, again)) == expected
    assert sum(map(len, again.asked)) == 4 - keys // 40


def test_answers_that_were_noted_and_are_gone_are_named(tmp_path):
    store = fill_all(tmp_path, FakeTeacher())
    keys = store.folder / "keys"
    keys.write_bytes(keys.read_bytes()[: 6 * 40])
    teacher = FakeTeacher()
    with pytest.raises(DamagedFile, match="holds 6 embeddings, and its ledger tells of 10"):
        fill_all(tmp_path, teacher)
    assert not teacher.asked


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_ledger_that_is_gone_or_cut_short_is_named(tmp_path, kept):
    store = fill_all(tmp_path, FakeTeacher())
    ledger = store.folder / "ledger.jsonl"
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:kept]))
    again = EmbeddingStore(tmp_path, FakeTeacher())
    with pytest.raises(DamagedFile, match=f"tells of {2 * bool(kept)} queries, and 10 were"):
        again.fill(views_of(12)[0], bar=False)
    ledger.unlink()
    again = EmbeddingStore(tmp_path, FakeTeacher())
    with pytest.raises(DamagedFile, match="tells of 0 queries, and 10 were answered"):
        again.text(["c"])


def test_every_flipped_byte_of_the_ledger_is_named(tmp_path):
    store = fill_all(tmp_path, FakeTeacher())
    ledger = store.folder / "ledger.jsonl"
    whole = ledger.read_bytes()
    for place in range(len(whole) - 1):
        ledger.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(HoldfastError, match=r"ledger\.jsonl"):
            EmbeddingStore(tmp_path, FakeTeacher())
            raise AssertionError(f"byte {place} of {len(whole)}")


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    expected = files_of(fill_all(tmp_path / "whole", FakeTeacher()))
    for event in range(14):  # about.json and its folder, and four for each of three requests
        chances = iter(range(event))

        def full(number, chances=chances):
            if next(chances, None) is None:
                raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        store = EmbeddingStore(tmp_path / str(event), FakeTeacher())
        with pytest.raises(HoldfastError, match="No space left"):
            ask_all(store)
        monkeypatch.undo()
        assert files_of(ask_all(store)) == expected
        assert files_of(fill_all(tmp_path / str(event), FakeTeacher())) == expected


def test_an_interrupt_loses_the_request_in_flight_alone(tmp_path):
    views = views_of(12)[0]
    batches = iter(range(2))

    def interrupted(rows):
        if next(batches, None) is None:
            raise KeyboardInterrupt
        return rows

    store = EmbeddingStore(tmp_path, FakeTeacher(change=interrupted))
    with pytest.raises(KeyboardInterrupt):
        store.fill(views)
    again = FakeTeacher()
    store = EmbeddingStore(tmp_path, again)
    assert store.ledger.unanswered == 4
    store.fill(views)
    assert again.asked == [[view.key for view in views[8:]]]
    assert store.ledger.spent == 16


def test_a_spot_check_finds_a_teacher_that_changed(tmp_path):
    views = views_of(10)[0]
    store = EmbeddingStore(tmp_path, FakeTeacher())
    with pytest.raises(HoldfastError, match="holds none of these views yet"):
        store.spot_check(views, 3, seed=0)
    store.fill(views[:8])
    drift = store.spot_check(views, 5, seed=0)
    assert (drift.count, drift.drifted) == (5, False)
    assert drift.lowest_cosine <= drift.mean_cosine
    assert drift.lowest_cosine > 1 - 1e-6  # float16 rounding
    first = store.teacher.asked[-2:]
    store.spot_check(views, 5, seed=0)
    assert store.teacher.asked[-2:] == first
    assert store.spot_check(views, 99, seed=0).count == 8
    assert store.ledger.spent == 8 + 5 + 5 + 8 and store.ledger.unanswered == 0
    assert lines_of(store)[-2]["purpose"] == "spot check"

    def turned(rows):
        rows = rows.clone()
        rows[0] = torch.nn.functional.normalize(rows[0] + 0.1 * rows[0].roll(1), dim=0)
        return rows

    store.teacher = FakeTeacher(change=turned)
    before = files_of(store)
    drift = store.spot_check(views, 4, seed=0)
    assert drift.drifted and drift.lowest_cosine < drift.mean_cosine
    assert files_of(store) == before


def test_ten_views_of_officehome_cost_what_they_should(tmp_path):
    # Its four domains and 65 classes; the public code asks 3,840,768 times in one trial.
    sizes = {"Art": 2427, "Clipart": 4365, "Product": 4439, "Real World": 4357}
    root = tmp_path / "data"
    for domain, size in sizes.items():
        for label in range(65):
            (root / domain / f"class_{label}").mkdir(parents=True)
        for n in range(size):
            path = root / domain / f"class_{n % 65}" / f"{n}.jpg"
            path.write_bytes(f"{domain} {n}".encode())
    domains = scan_domains(root)
    assert len(domains.images) == 15588
    views = Views(domains.images.paths, SETTINGS, seed=0)
    teacher = FakeTeacher()
    store = EmbeddingStore(tmp_path / "store", teacher)
    training = [domains.split(domain, trial_seed=0)[1] for domain in range(4)]
    # Each fold trains on three domains; together they need each domain's 80 %, once.
    folds = [[i for d in range(4) if d != out for i in training[d]] for out in range(4)]
    everything = sorted({index for fold in folds for index in fold})
    prompts = [f"a photo of a {name}." for name in domains.images.classes]
    plan = store.plan((views.view(i, number) for number in range(10) for i in everything), prompts)
    assert (plan.images, plan.texts) == (124_720, 65)
    assert teacher.asked == [] and not store.folder.exists()
