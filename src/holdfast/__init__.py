"""Holdfast: adapt vision-language models to new work without losing what they know.

    import holdfast

    classifier = holdfast.transfer(["cat", "dog"], out="runs/pets")
    names, probabilities = classifier.predict(["a.jpg"])

    classifier = holdfast.load_classifier("ViT-B-16", names=["cat", "dog"])  # zero-shot

Each function takes the fields of its settings as parameters (`help(holdfast.transfer)` lists them);
a group of them may be a dictionary, as in `train={"epochs": 3}`. Methods and anchors are classes,
such as `holdfast.GIFT` and `holdfast.WeightEnsemble`. Importing this package is quick: what a
function needs is imported when it is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast import settings
from holdfast.commands.settings import (
    CompareSettings,
    ContinualAddSettings,
    ContinualRunSettings,
    DistillSettings,
    EvaluateSettings,
    GenerateSettings,
    LoadSettings,
    PredictSettings,
    ReportSettings,
    TransferSettings,
)
from holdfast.errors import HoldfastError, UsageError
from holdfast.settings.signatures import takes

if TYPE_CHECKING:
    from holdfast.anchors.alignment import Alignment as Alignment
    from holdfast.anchors.consolidation import Consolidation as Consolidation
    from holdfast.anchors.iterate_average import IterateAverage as IterateAverage
    from holdfast.anchors.replay_distillation import ReplayDistillation as ReplayDistillation
    from holdfast.anchors.teacher_embeddings import TeacherEmbeddings as TeacherEmbeddings
    from holdfast.anchors.variance_covariance import VarianceCovariance as VarianceCovariance
    from holdfast.anchors.weight_ensemble import WeightEnsemble as WeightEnsemble
    from holdfast.commands.compare import SideBySide
    from holdfast.commands.costs import RunCost
    from holdfast.commands.distill_plan import QueryPlan
    from holdfast.generation import Estimate
    from holdfast.methods.erm import ERM as ERM
    from holdfast.methods.ewc import EWC as EWC
    from holdfast.methods.finetune import FineTuning as FineTuning
    from holdfast.methods.gift import GIFT as GIFT
    from holdfast.methods.joint import Joint as Joint
    from holdfast.methods.kd import KD as KD
    from holdfast.methods.l2 import L2 as L2
    from holdfast.methods.lp_ft import LPFT as LPFT
    from holdfast.methods.lwf import LwF as LwF
    from holdfast.methods.regft import RegFT as RegFT
    from holdfast.methods.text_head import TextHead as TextHead
    from holdfast.methods.vl2v import VL2V as VL2V
    from holdfast.methods.wise_ft import WiSEFT as WiSEFT
    from holdfast.methods.zero_shot import ZeroShot as ZeroShot
    from holdfast.methods.zscl import ZSCL as ZSCL
    from holdfast.models.classifier import Classifier as Classifier
    from holdfast.results import AddResult, Advice, ContinualResult, DistillResult, Evaluation

    __version__: str

__all__ = [
    "Classifier",
    "HoldfastError",
    "UsageError",
    "__version__",
    "compare",
    "continual_add",
    "continual_run",
    "distill",
    "evaluate",
    "generate",
    "load_classifier",
    "predict",
    "settings",
    "transfer",
    "write_report",
]


@takes(GenerateSettings)
def generate(chosen: GenerateSettings) -> Path | Estimate:
    """Generate images of the named classes.

    Returns their folder, `out`; of a dry run, what they would cost.
    """
    from holdfast.commands import generate as command

    return command.generate(chosen)


@takes(TransferSettings)
def transfer(chosen: TransferSettings) -> Classifier | RunCost:
    """Class names, or a file of them -> a classifier, kept in the folder `out`.

    Returns the classifier; of a dry run, what it would take. Run again with the same settings, it
    goes on where it stopped.
    """
    from holdfast.commands import transfer as command

    return command.transfer(chosen)


@takes(DistillSettings)
def distill(chosen: DistillSettings) -> DistillResult | Advice | QueryPlan:
    """Labelled images of several domains and a teacher -> students in the folder `out`.

    Returns the result; with `advice_only` what the teacher makes of a sample; of a dry run, the
    plan of its queries and its time.
    """
    from holdfast.commands import distill as command

    return command.distill(chosen)


@takes(EvaluateSettings)
def evaluate(chosen: EvaluateSettings) -> Evaluation:
    """Score a ready classifier on folders of real images.

    The result has the scores of the first folder, and those of others in `further`.
    """
    from holdfast.commands import evaluate as command

    return command.evaluate(chosen)


@takes(PredictSettings)
def predict(chosen: PredictSettings) -> list[tuple[Path | int, list[tuple[str, float]]]]:
    """Name images with a ready classifier: (file, [(name, probability), ...]) of each.

    Of a picture in memory its place among the images stands for the file.
    """
    from holdfast.commands import predict as command

    return command.predict(chosen)


@takes(ContinualAddSettings)
def continual_add(chosen: ContinualAddSettings) -> AddResult | RunCost:
    """Add a task to a model that keeps learning; the new one comes into `out / "model"`.

    Returns the result; of a dry run, what it would take.
    """
    from holdfast.commands import continual_add as command
    from holdfast.commands import continual_dry_run

    return continual_dry_run.dry_add(chosen) if chosen.dry_run else command.add(chosen)


@takes(ContinualRunSettings)
def continual_run(chosen: ContinualRunSettings) -> ContinualResult | RunCost:
    """Learn a stream of tasks, one after the other, and measure each model on all of them.

    Returns the result; of a dry run, what it would take.
    """
    from holdfast.commands import continual_dry_run
    from holdfast.commands import continual_run as command

    return continual_dry_run.dry_stream(chosen) if chosen.dry_run else command.run_stream(chosen)


@takes(CompareSettings)
def compare(chosen: CompareSettings) -> SideBySide:
    """Results of runs side by side: their numbers, and the settings in which they differ."""
    from holdfast.commands import compare as command

    return command.side_by_side(chosen)


@takes(ReportSettings)
def write_report(chosen: ReportSettings) -> Path:
    """Make the report of a run again from its result; returns the page's file."""
    from holdfast.commands import report as command

    return command.remake_report(chosen)


@takes(LoadSettings)
def load_classifier(chosen: LoadSettings) -> Classifier:
    """A ready classifier from anything that knows names; its `predict(images)` names images.

    Of a run or a saved classifier as it is; of a model that keeps learning over its tasks; of a
    CLIP with `names` zero-shot.
    """
    from holdfast.commands import ready

    return ready.ready_classifier(chosen)


if not TYPE_CHECKING:  # there, unknown names must stay unknown

    def __getattr__(name: str) -> Any:
        """The version, `Classifier`, methods and anchors: imported when they are asked for."""
        if name == "__version__":
            from importlib.metadata import version

            return version("holdfast")
        if name == "Classifier":
            from holdfast.models.classifier import Classifier

            return Classifier
        if name in (found := named_classes()):
            return found[name]
        raise AttributeError(f"module 'holdfast' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, *named_classes()})


def named_classes() -> dict[str, type]:
    """The classes of all methods and anchors, by their own names."""
    from holdfast.anchors.base import Anchor
    from holdfast.methods.base import Method

    return {kind.__name__: kind for kind in (*Method.known().values(), *Anchor.known().values())}
