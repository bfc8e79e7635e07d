"""All settings of each command. No torch here, so that the command line starts quickly."""

from holdfast.commands.settings.continual import ContinualAddSettings, ContinualRunSettings
from holdfast.commands.settings.distill import DistillSettings
from holdfast.commands.settings.transfer import (
    DemoSettings,
    GenerateSettings,
    TransferSettings,
)
from holdfast.commands.settings.use import (
    CompareSettings,
    EvaluateSettings,
    LoadSettings,
    PredictSettings,
    ReportSettings,
)
from holdfast.settings import ServeSettings

__all__ = [
    "CompareSettings",
    "ContinualAddSettings",
    "ContinualRunSettings",
    "DemoSettings",
    "DistillSettings",
    "EvaluateSettings",
    "GenerateSettings",
    "LoadSettings",
    "PredictSettings",
    "ReportSettings",
    "ServeSettings",
    "TransferSettings",
]
