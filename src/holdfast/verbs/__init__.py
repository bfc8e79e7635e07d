"""The verbs of the command line and the library: the rooms put together."""

from holdfast.verbs.continual import add as continual_add
from holdfast.verbs.continual import run as continual_run
from holdfast.verbs.demo import demo
from holdfast.verbs.distill import QueryPlan, distill
from holdfast.verbs.generate import generate
from holdfast.verbs.measure import Evaluation, evaluate, predict
from holdfast.verbs.serve import serve
from holdfast.verbs.transfer import transfer

__all__ = [
    "Evaluation",
    "QueryPlan",
    "continual_add",
    "continual_run",
    "demo",
    "distill",
    "evaluate",
    "generate",
    "predict",
    "serve",
    "transfer",
]
