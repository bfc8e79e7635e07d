"""`holdfast continual ... --dry_run`: a request is checked, and what it would take measured."""

from __future__ import annotations

from dataclasses import replace

from holdfast.commands.continual_cost import add_cost, stream_cost
from holdfast.commands.continual_joint import JOINT
from holdfast.commands.continual_prepare import prepare
from holdfast.commands.continual_run import add_settings, check_stream
from holdfast.commands.costs import RunCost
from holdfast.commands.settings import ContinualAddSettings, ContinualRunSettings
from holdfast.data.streams import find_stream
from holdfast.methods.finetune import FineTuning


def dry_add(settings: ContinualAddSettings) -> RunCost:
    """What one more task would take. Raises as `add` does."""
    return add_cost(prepare(settings))


def dry_stream(settings: ContinualRunSettings) -> RunCost:
    """What a stream of tasks would take. Raises as `run_stream` does."""
    sources, method = find_stream(settings.stream), settings.method
    check_stream(settings, sources)
    if not method.trains or method.name == JOINT:  # what trains all at once fine-tunes too
        settings = replace(settings, method=FineTuning(), anchors=[])
    tasks = [prepare(add_settings(settings, sources, n)) for n in range(len(sources))]
    return stream_cost(tasks, sources, settings.split, method.trains)
