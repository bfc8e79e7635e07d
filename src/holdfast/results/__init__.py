"""What the commands find, as dataclasses that commands, reports and evidence share.

`result.json` holds one of them with its `kind` and `version`; `read_result` reads it back and
checks every field. Shares and accuracies lie in [0, 1], times are seconds.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from holdfast.errors import HoldfastError
from holdfast.files import as_type, read_sealed, write_sealed, write_text
from holdfast.results.base import (
    Comparison,
    Conclusion,
    Costs,
    Environment,
    MethodResult,
    Mistake,
    Result,
    Scores,
    TrainingStep,
    Verdict,
)
from holdfast.results.bounded import bounded
from holdfast.results.continual import (
    AccuracyMatrix,
    AddResult,
    ContinualResult,
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
)
from holdfast.results.distill import (
    Advice,
    Candidate,
    CompactScores,
    DistillResult,
    DomainInfo,
    DomainScores,
    DomainTable,
    KeptWeights,
    QueryCount,
    Share,
    SpotCheck,
    Spread,
    StageResult,
    Summary,
    TeacherInfo,
    TowerInfo,
    TrialResult,
    ValidationPoint,
)
from holdfast.results.transfer import (
    AlphaPoint,
    AlphaResult,
    AlphaSource,
    Diagnostics,
    Evaluation,
    ImageCounts,
    ModelInfo,
    SetScores,
    TransferResult,
)
from holdfast.settings.base import to_jsonable

__all__ = [
    "AccuracyMatrix",
    "AddResult",
    "Advice",
    "AlphaPoint",
    "AlphaResult",
    "AlphaSource",
    "Candidate",
    "CompactScores",
    "Comparison",
    "Conclusion",
    "ContinualResult",
    "Costs",
    "Diagnostics",
    "DistillResult",
    "DomainInfo",
    "DomainScores",
    "DomainTable",
    "Environment",
    "Evaluation",
    "GateResult",
    "GateTrial",
    "HeldOutScores",
    "ImageCounts",
    "IncrementalNumbers",
    "KeptWeights",
    "MethodResult",
    "Mistake",
    "ModelInfo",
    "QueryCount",
    "ReplayInfo",
    "ReplaySample",
    "Result",
    "Scores",
    "SetScores",
    "Share",
    "SourceCoverage",
    "SpotCheck",
    "Spread",
    "StageResult",
    "StepResult",
    "StreamNumbers",
    "StreamTask",
    "Summary",
    "TaskScores",
    "TeacherInfo",
    "TowerInfo",
    "TrainingStep",
    "TransferResult",
    "TrialResult",
    "ValidationPoint",
    "Verdict",
    "read_result",
    "result_as_json",
    "write_result",
]

VERSION = 1

KINDS: dict[str, type[Result]] = {
    kind.kind: kind
    for kind in (TransferResult, DistillResult, ContinualResult, AddResult, Evaluation)
}


def result_as_json(result: Result) -> dict[str, Any]:
    """A result as JSON types, with its kind and version."""
    return {"kind": result.kind, "version": VERSION} | to_jsonable(result)


def write_result(path: Path, result: Result) -> Result:
    """Write a result as JSON, with its kind and version, and return it as it was written.

    Of very many classes it has some (see `holdfast.results.bounded`), and a table of all lies
    beside it: `classes.csv`, or `NAME-classes.csv` for a file that is not `result.json`.
    """
    written, table = bounded(result)
    beside = path.with_name("classes.csv" if path.stem == "result" else f"{path.stem}-classes.csv")
    if table is not None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(table)
        write_text(beside, text.getvalue())
    write_sealed(path, result_as_json(written))
    return written


def read_result(path: Path) -> Result:
    """The result that a file holds. Raises HoldfastError for anything else, naming the field."""
    value = read_sealed(path)
    kind = value.get("kind")
    if value.get("version") != VERSION or not isinstance(kind, str) or kind not in KINDS:
        raise HoldfastError(
            f"{path} holds no result of this version (kind {kind!r}, version "
            f"{value.get('version')!r}); run the command that made it again."
        )
    return as_type(value, KINDS[kind], path)
