"""`holdfast report`: the page of a run, made again from its result."""

from __future__ import annotations

from pathlib import Path

from holdfast.commands.compare import result_file
from holdfast.commands.settings import ReportSettings
from holdfast.errors import UsageError
from holdfast.report import write_report
from holdfast.results import read_result
from holdfast.runs import REPORT


def remake_report(settings: ReportSettings) -> Path:
    """Write the page of a run again, and return where it is.

    The run may also be a file that `holdfast evaluate --out` wrote. Raises UsageError where there
    is no result, HoldfastError for one that cannot be read.
    """
    file = result_file(settings.run)
    out = settings.out or file.with_name(REPORT)
    if out.is_dir():
        raise UsageError(f"{out} is a folder; give a file for the page.")
    write_report(read_result(file), out)
    return out
