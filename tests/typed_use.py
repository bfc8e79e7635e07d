"""What a type checker knows of the public functions: `make check` runs mypy on this file.

An error that is expected is ignored by its code; mypy reports an ignore that is not needed.
"""

from pathlib import Path
from typing import assert_type

import holdfast
from holdfast.settings import TrainSettings

train = TrainSettings(epochs=3)
holdfast.transfer(["cat", "dog"], out="runs/pets", train=train, method=holdfast.RegFT())
holdfast.transfer("names.txt", Path("runs"), folder="a", train={"epochs": 3}, method="l2")
holdfast.distill("data", "runs/a", anchors=["variance-covariance"], view={"size": 32})
holdfast.continual_add(Path("model"), Path("task"), method=holdfast.GIFT, replay={"images": 3})
holdfast.predict("runs/pets", "a.jpg", top=3)
assert_type(holdfast.load_classifier("runs/pets").names, tuple[str, ...])
assert_type(holdfast.settings.TrainSettings().epochs, int)
assert_type(holdfast.__version__, str)

holdfast.transfer(["cat"], sed=3)  # type: ignore[call-arg]
holdfast.transfer(["cat"], seed="3")  # type: ignore[arg-type]
holdfast.predict("runs/pets", 3)  # type: ignore[arg-type]
holdfast.trasnfer(["cat"])  # type: ignore[attr-defined]
