"""What a type checker knows of the public functions: `make check` runs mypy on this file.

An error that is expected is ignored by its code; mypy reports an ignore that is not needed.
"""

from pathlib import Path
from typing import assert_type

from PIL import Image

import holdfast
from holdfast.settings import TrainSettings

train = TrainSettings(epochs=3)
holdfast.transfer(["cat", "dog"], out="runs/pets", train=train, method=holdfast.RegFT())
holdfast.transfer("names.txt", Path("runs"), folder="a", train={"epochs": 3}, method="l2")
holdfast.distill("data", "runs/a", anchors=["variance-covariance"], view={"size": 32})
holdfast.continual_add(Path("model"), Path("task"), method=holdfast.GIFT, replay={"images": 3})
holdfast.predict("runs/pets", "a.jpg", top=3)
classifier = holdfast.load_classifier("ViT-B-16", names=["cat", "dog"])
assert_type(classifier.names, tuple[str, ...])
holdfast.predict(classifier, Image.new("RGB", (2, 2)), out="names.csv")
holdfast.predict(classifier, ["a.jpg", "b.jpg"])
holdfast.evaluate(classifier, ["photos", Path("sketches")])
assert_type(holdfast.compare(["runs/a", "runs/b"]).runs, list[str])
assert_type(holdfast.settings.TrainSettings().epochs, int)
assert_type(holdfast.__version__, str)

holdfast.transfer(["cat"], sed=3)  # type: ignore[call-arg]
holdfast.transfer(["cat"], seed="3")  # type: ignore[arg-type]
holdfast.predict("runs/pets", 3)  # type: ignore[arg-type]
holdfast.trasnfer(["cat"])  # type: ignore[attr-defined]
