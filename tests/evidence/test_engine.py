"""The evidence engine on runs that cost nothing."""

import ast
import importlib
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import pytest
from evidence.engine import Choice, Claim, Evidence, Measure, Run, Study, fill, key, nested
from evidence.intervals import paired
from evidence.page import Table

from evidence import engine, page
from holdfast.errors import UsageError
from holdfast.results import Environment, Evaluation, Scores, write_result

NOISE = (0.00, 0.01, 0.02, 0.01, 0.00)  # of the seeds
LOCKS: dict[str, Lock] = {}
MADE: Counter = Counter()


def draw(folder, name="x"):
    """Pictures, so to speak."""
    MADE["draw"] += 1
    Path(folder).mkdir()
    (Path(folder) / f"{name}.png").touch()


def train(folder, score, seed, data, wobble=0.0, rate=1.0, lock="", fail=False):
    """A run whose accuracy is its score less its distance from the best rate, 2."""
    MADE["train"] += 1
    assert list(Path(data).glob("*.png"))  # it was drawn before
    if fail:
        raise RuntimeError("no such luck")
    busy = LOCKS.setdefault(lock, Lock())
    assert not lock or busy.acquire(blocking=False)
    accuracy = score - 0.1 * abs(rate - 2) + NOISE[seed % 5] + wobble * (-1) ** seed
    result = Evaluation(
        title="",
        created="",
        command="",
        settings={},
        environment=Environment(
            python="", platform="", processors=1, threads=1, accelerator=None, packages={}
        ),
        scores=Scores(
            n=10,
            top1=accuracy,
            mean_per_class=accuracy,
            ece=0.0,
            nll=0.0,
            classes=("a", "b"),
            per_class=(1.0, None),
            count=(10, 0),
            confusion=(),
        ),
    )
    write_result(Path(folder) / "result.json", result)
    (Path(folder) / "model.safetensors").touch()
    if lock:
        busy.release()


def run(accuracy, **more):
    return Run(train, {"score": accuracy} | more)


def study(**more):
    about = {
        "title": "A page",
        "cases": {"easy": {"bonus": 0.1}, "hard": {"bonus": 0.0}},
        "runs": {
            "pictures": Run(draw, {"name": "{case}"}),
            "good": run(0.7),
            "bad": run(0.5),
            "shaky": run(0.7, wobble=0.2),
        },
        "measures": {
            "accuracy": Measure("scores.top1"),
            "classes": Measure("scores.classes", 1, 0),
        },
        "claims": [
            Claim("Good beats bad", "good", "bad", ["accuracy"]),
            Claim("Bad beats good", "bad", "good", ["accuracy"]),
            Claim("Shaky beats good", "shaky", "good", ["accuracy"]),
            Claim("Good beats chance", "good", 0.1, ["accuracy"]),
            Claim("Bad is at most 30 points below good", "bad", "good", ["accuracy"], -0.3),
        ],
        "common": {
            "train": {"folder": "{out}", "seed": "{seed}", "data": "{run[pictures]}"},
            "draw": {"folder": "{out}"},
        },
        "quick": {"train": {"score": 0.0}},
        "why": {"Bad beats good": "It is bad."},
    }
    return Study(**about | more)


@pytest.fixture
def made(tmp_path):
    """Evidence of a study, made by so many threads."""
    MADE.clear()

    def make(declared, workers=1, quick=False, **options):
        evidence = Evidence(declared, tmp_path, quick)
        evidence.work.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(workers) as pool:
            evidence.make(pool, workers, **options)
        return evidence

    return make


def line(text, start):
    [found] = [each for each in text.splitlines() if each.startswith(f"| {start} ")]
    return [cell.strip() for cell in found.strip("|").split("|")]


# Differences 0.1, 0.2, 0.3: mean 0.2, deviation 0.1; t of 2 degrees at 97.5 % is 4.302653.
def test_an_interval_by_hand():
    found = paired([0.4, 0.6, 0.8], [0.3, 0.4, 0.5])
    assert (found.mean, found.deviation, found.n) == pytest.approx((0.2, 0.1, 3))
    margin = 4.302653 * 0.1 / 3**0.5
    assert found.low == pytest.approx(0.2 - margin, abs=1e-6)
    assert found.high == pytest.approx(0.2 + margin, abs=1e-6)


def test_an_interval_is_of_pairs():
    assert paired([0.1, 0.9], [0.0, 0.8]).deviation == pytest.approx(0)
    assert paired([0.1, 0.9], [0.8, 0.0]).deviation > 1


@pytest.mark.parametrize(
    ("more", "margin", "verdict"),
    [
        ([0.31, 0.30, 0.32], 0.0, "holds"),
        ([0.11, 0.10, 0.12], 0.0, "does not hold"),
        ([0.31, 0.10, 0.12], 0.0, "cannot tell"),
        ([0.31, 0.30, 0.32], 0.2, "does not hold"),
        ([0.11, 0.10, 0.12], -0.2, "holds"),
        ([0.30, 0.30, 0.30], 0.1, "cannot tell"),  # 0.3 - 0.2 is not above 0.1
        ([0.20, 0.20, 0.20], 0.0, "cannot tell"),
    ],
)
def test_verdicts(more, margin, verdict):
    assert paired(more, [0.2] * 3).judge(margin) == verdict


def test_one_seed_or_other_seeds_give_no_interval():
    with pytest.raises(ValueError, match="two seeds"):
        paired([0.1], [0.2])
    with pytest.raises(ValueError, match="argument 2"):
        paired([0.1, 0.2], [0.2])


def test_places_are_filled_in():
    places = {"seed": 3, "case": "é", "run": lambda name: f"/runs/{name}"}
    settings = {"seed": "{seed}", "folder": "{run[a b]}/x-{case}-{seed}", "n": [{"s": "{seed}"}]}
    assert fill(settings | {"prompt": "a {}."}, places) == {
        "seed": 3,
        "folder": "/runs/a b/x-é-3",
        "n": [{"s": 3}],
        "prompt": "a {}.",
    }
    with pytest.raises(KeyError, match="sede"):
        fill("{sede}", places)


def test_dotted_settings_become_groups():
    assert nested({"a.x": 1, "b": {"c": 2}, "a.y.z": 3}) == {
        "a": {"x": 1, "y": {"z": 3}},
        "b": {"c": 2},
    }


def test_a_run_is_known_by_all_its_settings():
    settings = {"names": ["a"], "out": "/here/runs/{out}"}
    same = key("transfer", settings | {"train": {"epochs": 10}}, Path("/here"))
    assert key("transfer", settings, Path("/here")) == same  # 10 is the default
    assert (
        key("transfer", settings | {"dry_run": False, "head_prompts": None}, Path("/here")) == same
    )
    assert key("transfer", settings | {"out": "/there/runs/{out}"}, Path("/there")) == same
    assert key("transfer", settings | {"seed": 1}, Path("/here")) != same
    zero = {"method": {"name": "wise-ft", "alpha": 0}}
    none = {"method": {"name": "wise-ft", "alpha": None}}
    assert key("transfer", settings | zero, Path()) != key("transfer", settings | none, Path())
    with pytest.raises(UsageError, match="epoch"):
        key("transfer", settings | {"train": {"epoch": 3}}, Path())


def test_other_weights_make_other_runs():
    assert engine.weights_digest(["clip"]) == engine.weights_digest(["clip"])
    assert len({engine.weights_digest(each) for each in ([], ["clip"], ["clip", "student"])}) == 3


def test_every_run_is_made_once(made):
    evidence = made(study(), workers=2)
    # Two cases of pictures; the settings of a training do not know the case but by its pictures.
    assert MADE == {"draw": 2, "train": 3 * 2 * 5}
    assert evidence.values("good", "accuracy", "easy") == pytest.approx([0.6 + x for x in NOISE])
    assert evidence.values("good", "classes", "hard") == [2.0] * 5
    assert "Left: 0 of 32 runs, 0 minutes" in evidence.left()
    assert not list(evidence.work.rglob("*.safetensors"))
    made(study())
    assert MADE["train"] == 30
    changed = study()
    made(study(runs=changed.runs | {"good": run(0.8)}))
    assert MADE == {"draw": 2, "train": 40}


def test_equal_runs_are_one(made):
    evidence = made(study(runs=study().runs | {"the same": run(0.7), "fixed": run(0.7, seed=0)}))
    assert MADE["train"] == 30
    same = [evidence.values(row, "accuracy", "easy") for row in ("good", "the same")]
    assert same[0] == same[1]
    assert evidence.values("fixed", "accuracy", "easy") == [same[0][0]] * 5


def test_a_kill_costs_the_runs_that_were_in_the_making(made):
    evidence = made(study())
    [job, *_] = [job for job in evidence.jobs.values() if job.label == "good"]
    job.record.unlink()
    for path in job.folder.iterdir():
        path.unlink()
    job.folder.rmdir()
    assert evidence.values("good", "accuracy", "easy") is None
    assert evidence.left().startswith("Left: 1 of 32 runs, 0 minutes")
    again = made(study())
    assert MADE["train"] == 31
    assert again.values("good", "accuracy", "easy") is not None


def test_nothing_is_begun_after_the_time(made):
    evidence = made(study(), minutes=-1)
    assert not MADE
    assert "Left: 32 of 32 runs" in evidence.left()
    assert "of a kind that is not timed yet" in evidence.left()


def test_what_fails_leaves_the_others(made):
    runs = study().runs | {"good": run(0.7, fail=True)}
    evidence = made(study(runs=runs))
    assert len(evidence.failed) == 10
    assert "good (easy, 0) failed: RuntimeError: no such luck" in evidence.failed.values()
    assert evidence.values("good", "accuracy", "easy") is None
    assert evidence.values("bad", "accuracy", "easy") is not None
    text = page.render("some", evidence, [Table(["good", "bad"], ["accuracy"])])
    assert line(text, "Good beats bad")[1:] == ["–", "–", "–", "not run"]
    assert "Not run for every seed: good." in text
    assert "| good " not in text
    assert page.numbers(evidence)["values"]["easy"]["good"]["accuracy"] is None


def test_what_follows_from_a_failure_is_not_begun(made):
    made(study(runs=study().runs | {"pictures": Run(draw, {"folder": "{out}/a/b"})}))
    assert MADE["train"] == 0


def test_runs_that_write_to_one_folder_are_not_made_side_by_side(made):
    together = Run(train, {"score": 0.7, "lock": "{case}"}, alone="{case}")
    other = Run(train, {"score": 0.6, "lock": "{case}"}, alone="{case}")
    evidence = made(study(runs=study().runs | {"good": together, "bad": other}), workers=4)
    assert not evidence.failed


def test_a_choice_is_made_on_development_data(made):
    development = {"rate": "{value}", "data": "{run[development]}"}
    runs = study().runs | {
        "development": Run(draw, {"name": "development"}),
        "good": run(0.7, rate="{chosen[rate]}"),
        "own": Run(train, {"score": 0.7, "rate": "{chosen[own]}"}, cases=["hard"]),
    }
    choices = {
        "rate": Choice("good", [1, 2, 3], "accuracy", development),
        "own": Choice("own", "{rates}", "accuracy", development),
    }
    cases = {"easy": {"rates": [1, 1.5]}, "hard": {"rates": [1.5, 3]}}
    declared = study(runs=runs, choices=choices, cases=cases)
    early = Evidence(declared, Path("unused"))
    assert early.scores("rate", "easy") == {1: None, 2: None, 3: None}
    assert early.values("good", "accuracy", "easy") is None
    evidence = made(declared)
    assert evidence.scores("rate", "easy") == pytest.approx({1: 0.6, 2: 0.7, 3: 0.6})
    assert evidence.chosen("rate", "hard") == 2
    assert [evidence.chosen("own", case) for case in cases] == [1.5, 1.5]
    # 10 each of bad, shaky and good, 5 of own; rates of the choices: 1, 2, 3, and 1.5.
    assert MADE == {"draw": 3, "train": 39}
    assert evidence.values("good", "accuracy", "easy") == pytest.approx([0.7 + x for x in NOISE])
    assert evidence.values("own", "accuracy", "easy") is None
    text = page.render("some", evidence, [])
    assert "| rate | easy | accuracy of 1: 60.0, 2: 70.0, 3: 60.0 | 2 |" in text
    assert "| own | easy | accuracy of 1: 60.0, 1.5: 65.0 | 1.5 (at the edge) |" in text
    assert "Not run" not in text


def test_a_value_that_fails_is_not_chosen(made):
    runs = study().runs | {"good": run(0.7, fail="{chosen[fail]}")}
    choices = {"fail": Choice("good", [True, False], "accuracy", {"fail": "{value}"})}
    evidence = made(study(runs=runs, choices=choices))
    assert evidence.chosen("fail", "easy") is False
    assert evidence.values("good", "accuracy", "easy") is not None


def test_where_all_values_fail_nothing_is_chosen(made):
    runs = study().runs | {"good": run(0.7, score="{chosen[score]}")}
    choices = {"score": Choice("good", [1, 2], "accuracy", {"score": "{value}", "fail": True})}
    evidence = made(study(runs=runs, choices=choices))
    assert page.numbers(evidence)["choices"]["score"]["easy"] == {"1": "failed", "2": "failed"}
    assert evidence.values("good", "accuracy", "easy") is None
    assert "Not run for every seed: good." in page.render("some", evidence, [])


def test_the_page_says_what_holds_and_why(made):
    evidence = made(study())
    table = Table(["good", "bad"], ["accuracy", "classes"], ["hard"])
    text = page.render("some", evidence, ["## Words", table, Table(["shaky"], ["accuracy"])])
    assert text.startswith("# A page\n\nMade by `make evidence-some` from 5 seeds.")
    assert "one in forty of these 10 would hold" in text
    apart = "easy: {0} (between {0} and {0})<br>hard: {0} (between {0} and {0})"
    assert line(text, "Good beats bad")[1:] == [apart.format("+20.0"), "–", "–", "–"]
    assert line(text, "Bad beats good")[1:] == ["–", apart.format("-20.0"), "–", "It is bad."]
    assert line(text, "Good beats chance")[1].startswith("easy: +50.8 (between +49.8 and +51.8)")
    assert line(text, "Bad is at most 30 points below good")[1] == apart.format("-20.0")
    # Of 5 seeds, 3 are 20 points above and 2 as much below: 4 ± 21.9, so ± 27.2.
    assert line(text, "Shaky beats good")[3].startswith("easy: +4.0 (between -23.2 and +31.2)")
    assert line(text, "Shaky beats good")[4] == "not looked into yet"
    assert text.endswith(
        "## Words\n\n|  | accuracy | classes |\n| --- | --- | --- |\n"
        "| good | 60.8 ± 0.8 | 2 |\n| bad | 40.8 ± 0.8 | 2 |\n\n"
        "|  | easy | hard |\n| --- | --- | --- |\n| shaky | 64.8 ± 21.7 | 64.8 ± 21.7 |\n"
    )


def test_tables_turn(made):
    evidence = made(study())
    text = Table(["good", "bad"], ["classes"], down=["case"]).text(evidence)
    assert text.splitlines()[0] == "|  | good | bad |"
    assert text.splitlines()[2] == "| easy | 2 | 2 |"
    text = Table(["good", "bad"], ["classes"], down=["case", "row"]).text(evidence)
    assert text.splitlines()[-1] == "| hard, bad | 2 |"


def test_rows_give_arguments_to_measures(made):
    rows = {"half": ("good", {"share": 0.5, "part": "top1"})}
    measures = study().measures | {
        "some": Measure(lambda result, share, part: share * result.scores.top1),
        "place": Measure("scores.{part}"),
    }
    evidence = made(study(rows=rows, measures=measures))
    whole = evidence.values("good", "accuracy", "easy")
    assert evidence.values("half", "some", "easy") == pytest.approx([x / 2 for x in whole])
    assert evidence.values("half", "place", "easy") == whole


def test_all_numbers_stand_beside_the_page(made):
    evidence = made(study())
    page.render("some", evidence, ["words", Table(["good"], ["classes"], ["easy"])])
    found = json.loads(json.dumps(page.numbers(evidence), allow_nan=False))
    assert found["seeds"] == [0, 1, 2, 3, 4]
    assert found["values"]["easy"]["good"]["classes"] == [2.0] * 5
    assert found["values"]["hard"]["shaky"]["accuracy"][0] == pytest.approx(0.8)
    [claim, *_] = found["claims"]
    assert (claim["verdict"], claim["n"], claim["mean"]) == ("holds", 5, pytest.approx(0.2))


def test_quick_runs_are_tiny_and_few(made):
    evidence = made(study(), quick=True)
    assert MADE["train"] == 2 * 2 * 2  # good and bad are the same now
    assert evidence.values("good", "accuracy", "hard") == pytest.approx([-0.1, -0.09])


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", ["transfer", "distill", "continual"])
def test_declared_pages_are_sound(name, quick, tmp_path):
    declared = importlib.import_module(f"evidence.{name}")
    evidence = Evidence(declared.STUDY, tmp_path, quick)
    assert evidence.plan() or not declared.STUDY.choices
    evidence.chosen = lambda choice, case: evidence.study.choices[choice] and 1e-4
    assert not evidence.plan()  # Holdfast takes all settings
    assert page.render(name, evidence, declared.PAGE).count("not run") == len(declared.STUDY.claims)
    assert set(declared.STUDY.why) <= {claim.text for claim in declared.STUDY.claims}
    assert page.numbers(evidence)["claims"] == []


def test_no_internals_are_imported():
    public = {"holdfast", "holdfast.results", "holdfast.settings", "holdfast.builtin"}
    for path in Path(engine.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("holdfast"):
                assert node.module in public, path
                assert node.module != "holdfast" or not node.names
