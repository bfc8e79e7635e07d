"""What the settings of several commands have in common: help, limits, and what may be given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from holdfast.anchors.base import Anchor
from holdfast.methods.base import Method
from holdfast.settings import Given, Values

AnyMethod = Given[Method, str | type[Method] | Values]
AnyAnchors = Given[list[Anchor], str | Sequence[Anchor | str | Values]]

SEED: dict[str, Any] = {"low": 0, "high": 2**63 - 1}
NAMES = (
    'Class names, or one file: a text file with a name a line, or JSON {"folder": "name"}; or a '
    "data set's, as the papers have them: names:cifar100, names:eurosat, ..."
)
MODEL = "open_clip architecture, `local-dir:PATH`, `hf-hub:ID`, or `pocket`."
PRETRAINED = (
    "open_clip's tag for its weights, or a file of them; empty for a model that carries its own."
)
GENERATOR = (
    "A text-to-image pipeline: hub id (`id@revision` pins it), folder, or `pocket`; several, "
    "separated by commas, take turns."
)
DEVICE = "`auto`, `cpu`, `cuda`, `mps`."
EVERY_CHOICE = "Of every random choice."
METHOD = "What is trained, and what holds on to the old; its own settings follow below."
ANCHORS = (
    "Further anchors, as `name` or `name:setting=value`, separated by commas; see `holdfast "
    "anchors`."
)
MAX_DROP = (
    "Largest drop of accuracy that is accepted on what the model knew (0.02 is two points); none "
    "accepts any. If a task costs more, the new weights are averaged with the previous ones, as "
    "far as needed; if no average passes, nothing is written."
)
HELD_OUT = (
    "Folders or data sets of tasks that must not suffer (`pocket:nouns`), several in a list. "
    "Earlier tasks and pre-training count by their replayed images."
)
CLASSES = (
    "Classes of the folder to take, with commas between them; all others are left out. With a `-` "
    "before it (`--classes=-dog`) a class is left out itself."
)
CLASS_NAMES = (
    "How folders name classes that nothing else names: `words` makes words of n01440764, "
    "001.Black_footed_Albatross, AnnualCrop and snake_case; `exact` takes them as they are."
)
LINKS = (
    "`inside` leaves out links to places outside of a folder of images, `follow` takes what they "
    "lead to."
)
FolderNames = Literal["words", "exact"]
Links = Literal["inside", "follow"]
IMAGES_AT_ONCE = "Images at once."
DRY_RUN = (
    "Say what the run would take, from two drawn images, three steps and a few images, and stop."
)
