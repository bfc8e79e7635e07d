"""All settings of each command. No torch here, so that the command line starts quickly."""

from holdfast.commands.settings.continual import ContinualAddSettings, ContinualRunSettings
from holdfast.commands.settings.distill import DistillSettings
from holdfast.commands.settings.transfer import (
    DemoSettings,
    EvaluateSettings,
    GenerateSettings,
    PredictSettings,
    ReportSettings,
    TransferSettings,
)
from holdfast.settings import ServeSettings

__all__ = [
    "ContinualAddSettings",
    "ContinualRunSettings",
    "DemoSettings",
    "DistillSettings",
    "EvaluateSettings",
    "GenerateSettings",
    "PredictSettings",
    "ReportSettings",
    "ServeSettings",
    "TransferSettings",
]
