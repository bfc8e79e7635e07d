"""The verbs of the command line and the library: the rooms put together."""

from holdfast.verbs.demo import demo
from holdfast.verbs.generate import generate
from holdfast.verbs.measure import Evaluation, evaluate, predict
from holdfast.verbs.serve import serve
from holdfast.verbs.transfer import transfer

__all__ = ["Evaluation", "demo", "evaluate", "generate", "predict", "serve", "transfer"]
