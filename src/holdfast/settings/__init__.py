"""Groups of settings that several rooms share. `holdfast.commands.settings` has each command's.

No torch here: the command line builds itself from these classes and must start quickly. A paper's
value is the default and says so.
"""

from holdfast.settings.base import (
    AnyPath,
    AnyWords,
    Given,
    Named,
    Precision,
    Settings,
    Values,
    inherited,
    setting,
)
from holdfast.settings.given import ClassifierSource, ImageInput
from holdfast.settings.images import (
    DEFAULT_GENERATOR,
    DrawSettings,
    ImageSettings,
    PromptSettings,
    ReplaySettings,
    ViewSettings,
)
from holdfast.settings.teacher import ServeSettings, TeacherSettings
from holdfast.settings.training import (
    AverageSettings,
    ContinualTrainSettings,
    Optimisation,
    StageSettings,
    TrainSettings,
)

__all__ = [
    "DEFAULT_GENERATOR",
    "AnyPath",
    "AnyWords",
    "AverageSettings",
    "ClassifierSource",
    "ContinualTrainSettings",
    "DrawSettings",
    "Given",
    "ImageInput",
    "ImageSettings",
    "Named",
    "Optimisation",
    "Precision",
    "PromptSettings",
    "ReplaySettings",
    "ServeSettings",
    "Settings",
    "StageSettings",
    "TeacherSettings",
    "TrainSettings",
    "Values",
    "ViewSettings",
    "inherited",
    "setting",
]
