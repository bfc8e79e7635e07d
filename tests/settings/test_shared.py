"""What several commands take is the same everywhere."""

from collections import defaultdict
from dataclasses import fields

import pytest

from holdfast.anchors.base import Anchor
from holdfast.commands import settings as commands
from holdfast.commands.settings.shared import SEED
from holdfast.methods.base import Method
from holdfast.settings.base import types

KINDS = [getattr(commands, name) for name in commands.__all__]


def test_a_field_of_several_commands_has_the_same_type_and_limits():
    found = defaultdict(set)
    for kind in KINDS:
        for each in fields(kind):
            if each.name in ("seed", "device", "method", "anchors", "generator", "dry_run"):
                limits = each.metadata["low"], each.metadata["high"]
                found[each.name].add((str(types(kind)[each.name]), *limits))
    assert all(len(variants) == 1 for variants in found.values()), dict(found)
    [(_, low, high)] = found["seed"]
    assert {"low": low, "high": high} == SEED


@pytest.mark.parametrize("kind", KINDS)
def test_a_command_with_methods_has_anchors_too(kind):
    hints = types(kind)
    assert (hints.get("method") is Method) == (hints.get("anchors") == list[Anchor])


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_may_go_on_elsewhere_and_on_another_device(kind):
    free = {each.name: each.metadata["free"] for each in fields(kind)}
    if "method" in free:
        assert free["out"] and free["device"]
        assert not free["seed"] and not free["method"] and not free["anchors"]
