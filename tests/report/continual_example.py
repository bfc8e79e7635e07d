"""Made-up but consistent results of `continual run` and `continual add`."""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image
from tests.report.transfer_example import ENVIRONMENT

from holdfast.metrics import stream_metrics
from holdfast.results import (
    AccuracyMatrix,
    AddResult,
    Comparison,
    Conclusion,
    ContinualResult,
    Costs,
    GateResult,
    GateTrial,
    HeldOutScores,
    IncrementalNumbers,
    ReplayInfo,
    ReplaySample,
    SourceCoverage,
    StepResult,
    StreamNumbers,
    StreamTask,
    TaskScores,
    TrainingStep,
)

TASKS = ["letters", "textures", "digits"]
NO_NUMBERS = StreamNumbers(
    transfer=None, transfer_by_stage=None, average=None, last=None, forget=None
)


def stream_example(
    folder: Path, tasks: list[str] = TASKS, *, method: str = "gift", captions: bool = False
) -> ContinualResult:
    """A stream: a learnt task gains 20 points and loses 2 with every task after it."""

    def aware(position: int, learnt: int) -> float:
        if learnt > position:
            return 0.7 + 0.02 * position - 0.02 * (learnt - 1 - position)
        return 0.5 + 0.02 * position - 0.005 * learnt

    places = range(len(tasks))
    first = [[aware(position, learnt) for position in places] for learnt in range(len(tasks) + 1)]
    second = [
        [None if captions and position == 0 else value - 0.1 for position, value in enumerate(row)]
        for row in first
    ]
    incremental = [
        [
            value and round(value + 0.041, 3) if place < learnt else None
            for place, value in enumerate(row)
        ]
        for learnt, row in enumerate(second)
    ]
    return ContinualResult(
        title=f"A stream of {len(tasks)} tasks, {method}",
        created="2026-03-14T09:26:53+00:00",
        command="holdfast continual run stream.yaml --out runs/stream",
        settings={"model": "ViT-B-16", "generator": "pocket"},
        environment=ENVIRONMENT,
        notes=["textures: 'red' is also among the classes of 'letters'."],
        method=method,
        method_title=method.upper(),
        paper="arXiv 2503.04229",
        tasks=[
            StreamTask(
                name=name,
                classes=["a", "b"],
                templates=["a photo of a {}.", "art of a {}.", "a {}."],
                captions=captions and place == 0,
                images={"train": 240, "val": 60, "test": 200 + place},
            )
            for place, name in enumerate(tasks)
        ],
        matrix=AccuracyMatrix(
            split="test",
            rows=["zero-shot", *tasks],
            columns=tasks,
            images=[200 + place for place in places],
            task_aware=first,
            task_agnostic=second,
            class_incremental=incremental,
        ),
        task_aware=StreamNumbers(**stream_metrics(first[1:]), forget_interval=(-0.093, 0.034)),
        task_agnostic=NO_NUMBERS if captions else StreamNumbers(**stream_metrics(second[1:])),
        class_incremental=IncrementalNumbers(
            by_stage=[None if captions else 0.61 + 0.02 * place for place in places],
            average=None if captions else 0.63,
            last=None if captions else 0.61 + 0.02 * (len(tasks) - 1),
        ),
        held_out=HeldOutScores(
            rows=["zero-shot", *tasks],
            columns=["pets", "flowers"],
            images=[321, 123],
            task_aware=[[0.81 - 0.01 * n, 0.72 - 0.01 * n] for n in range(len(tasks) + 1)],
        ),
        steps=[step(folder, tasks, place) for place in places],
        verdict=Conclusion(
            decision="learnt",
            headline="18.0 points gained, -3.0 forgotten",
            text="On 603 test images of 3 tasks the model is 70.0 % right.",
        ),
        costs=Costs(
            generation_seconds=71.5,
            training_seconds=130.0,
            evaluation_seconds=9.5,
            peak_memory_bytes=3_412_000_000,
        ),
    )


def added_example(folder: Path) -> AddResult:
    """Digits added to a model that knows letters and textures."""

    def scores(top1: float) -> TaskScores:
        return TaskScores(
            split="val",
            images=100,
            task_aware_top1=top1,
            task_aware_mean_per_class=top1 - 0.012,
            task_aware_ece=0.0456,
            task_agnostic_top1=top1 - 0.1,
            class_incremental_top1=top1 - 0.1,
        )

    names = ("digits", "pets", "flowers")
    return AddResult(
        title="digits added",
        created="2026-03-14T09:26:53+00:00",
        command="holdfast continual add runs/two/model pocket:digits",
        settings={"model": "runs/two/model"},
        environment=ENVIRONMENT,
        method="gift",
        method_title="GIFT",
        paper="arXiv 2503.04229",
        tasks=TASKS,
        held_out=["pets", "flowers"],
        before={name: scores(0.5) for name in names},
        after={name: scores(0.8 if name == "digits" else 0.49) for name in names},
        step=step(folder, TASKS, 2),
        verdict=Conclusion(
            decision="learnt",
            headline="30.0 points gained on digits",
            text="Of 2 held-out tasks, pets fared worst: -1.0 points.",
        ),
    )


def step(folder: Path, tasks: list[str], place: int) -> StepResult:
    """One task, with replay of pre-training and of the tasks before it."""
    sources = ["pre-training", *tasks[:place]]
    each = 60 // len(sources)
    before = TaskScores(
        split="val",
        images=50,
        task_aware_top1=0.7,
        task_aware_mean_per_class=0.69,
        task_aware_ece=0.1,
    )
    return StepResult(
        task=tasks[place],
        position=place,
        classes=12,
        captions=False,
        method="gift",
        seed=1234 + place,
        train={"steps": 40, "learning_rate": 3e-4, "label_smoothing": 0.1 * place},
        images={"train": 240, "val": 60, "test": 200},
        replay=ReplayInfo(
            images=60,
            prompts=31,
            redrawn=place,
            sha256="0123456789abcdef" * 4,
            coverage=[
                SourceCoverage(source=s, names=26, names_drawn=9, images=each, share=each / 60)
                for s in sources
            ],
        ),
        samples=[
            ReplaySample(
                path=picture(folder, n), prompt=f"a photo of {source}, {n}.", source=source
            )
            for source in sources
            for n in range(2)
        ],
        gate=GateResult(
            alpha=0.6 if place else 1.0,
            max_drop=0.02,
            cannot_tell={"flowers": 11},
            before={"replay of pre-training": before, "pets": before},
            sweep=[
                gate_trial(1.0, 0.05 if place else 0.01),
                *([gate_trial(0.8, 0.03), gate_trial(0.6, 0.015)] if place else []),
            ],
        ),
        notes=["'red' is also among the classes of 'letters'."],
        costs=Costs(generation_seconds=20.0, training_seconds=43.3, gate_seconds=2.0),
        training=[
            TrainingStep(
                step=n,
                losses={"cross_entropy": 2 * math.exp(-n / 20), "distillation_image": 1.0},
                measures={"drift_image": n / 400, "drift_text": n / 500},
                learning_rate=3e-4,
                gradient_norm=1.0 + n,
            )
            for n in range(40)
        ],
    )


def gate_trial(alpha: float, drop: float) -> GateTrial:
    """What the gate measured under one weight of the new model."""
    changes = {"replay of pre-training": changed(0.01), "pets": changed(-drop)}
    gain = 0.7 * alpha
    return GateTrial(alpha=alpha, task_aware_top1=gain, changes=changes, passes=drop <= 0.02)


def changed(difference: float) -> Comparison:
    """A change of accuracy on 50 images."""
    low, high = difference - 0.08, difference + 0.07
    return Comparison(difference=difference, low=low, high=high, n=50, gained=3, lost=2)


def picture(folder: Path, n: int) -> str:
    """A picture."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{n}.png"
    Image.new("RGB", (32, 32), (90, 60 * n, 120)).save(path)
    return str(path)
