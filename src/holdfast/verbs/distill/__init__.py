"""`holdfast distill`: labelled images of domains + a teacher -> a student for unseen domains."""

from holdfast.verbs.distill.queries import QueryPlan
from holdfast.verbs.distill.run import distill

__all__ = ["QueryPlan", "distill"]
