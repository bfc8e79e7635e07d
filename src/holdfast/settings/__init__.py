"""Everything a user may set, with units and defaults. A paper's value is the default and says so.

No torch here: the command line builds itself from these classes and must start quickly.
"""

from holdfast.settings.base import INFINITY, SEED, Optimisation, Precision, Settings
from holdfast.settings.continual import (
    ContinualAddSettings,
    ContinualRunSettings,
    ContinualTrainSettings,
    ReplaySettings,
)
from holdfast.settings.distill import (
    AverageSettings,
    BaselineSettings,
    DistillSettings,
    StageSettings,
    ViewSettings,
)
from holdfast.settings.teacher import ServeSettings, TeacherSettings
from holdfast.settings.transfer import (
    DEFAULT_GENERATOR,
    DemoSettings,
    DrawSettings,
    EvaluateSettings,
    GenerateSettings,
    ImageSettings,
    PredictSettings,
    PromptSettings,
    TrainSettings,
    TransferSettings,
)

__all__ = [
    "DEFAULT_GENERATOR",
    "INFINITY",
    "SEED",
    "AverageSettings",
    "BaselineSettings",
    "ContinualAddSettings",
    "ContinualRunSettings",
    "ContinualTrainSettings",
    "DemoSettings",
    "DistillSettings",
    "DrawSettings",
    "EvaluateSettings",
    "GenerateSettings",
    "ImageSettings",
    "Optimisation",
    "Precision",
    "PredictSettings",
    "PromptSettings",
    "ReplaySettings",
    "ServeSettings",
    "Settings",
    "StageSettings",
    "TeacherSettings",
    "TrainSettings",
    "TransferSettings",
    "ViewSettings",
]
