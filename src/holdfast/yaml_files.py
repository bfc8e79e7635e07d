"""YAML files that users write: every value is the text that stands there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from holdfast.errors import HoldfastError
from holdfast.files import decode, parse_json, read_limited, unique_names

YAML_BYTES = 2**21


def read_yaml(path: Path, *, limit_bytes: int = YAML_BYTES) -> Any:
    """The value of the YAML file `path`; JSON is a part of YAML.

    limit_bytes: the largest file that is read. Of YAML there are only mappings, lists, texts and
    None: `010`, `no` and `2020-01-02` are the texts that they are, which settings convert to the
    type of their field; nothing at all and `~` are None. JSON keeps its own types.

    Raises HoldfastError as `holdfast.files.read_json` does, and for anchors and tags: with them a
    small file can hold a value of any size, or of any type.
    """
    import yaml  # not needed before

    class Loader(yaml.BaseLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            event = self.peek_event()
            if getattr(event, "anchor", None) is not None:
                raise ValueError("it has an anchor (& or *); write the value out")
            if getattr(event, "tag", None) is not None:
                raise ValueError(
                    f"it has the tag {event.tag!r}; leave it out, or put what begins with ! into "
                    "quotation marks"
                )
            return super().compose_node(parent, index)

        def construct_object(self, node: Any, deep: bool = False) -> Any:
            plain = isinstance(node, yaml.ScalarNode) and node.style is None
            if plain and node.value in ("", "~"):
                return None
            return super().construct_object(node, deep)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            pairs = [
                (self.construct_object(key, deep=True), self.construct_object(value, deep=deep))
                for key, value in node.value
            ]
            if odd := [key for key, _ in pairs if not isinstance(key, str)]:
                raise ValueError(f"{odd[0]!r} is no name; put it in quotation marks")
            return unique_names(pairs)

    try:
        data = read_limited(path, limit_bytes)
        text = decode(data)
        try:
            return parse_json(data)  # a hundred times as fast
        except json.JSONDecodeError:
            return yaml.load(text, Loader)
    except RecursionError:
        reason = "it is nested too deeply"
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = "it is neither YAML nor JSON" + (f" in line {mark.line + 1}" if mark else "")
        if mark and "\t" in text.split("\n")[mark.line]:
            reason += ", which has a tab; write spaces instead"
    except (ValueError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    raise HoldfastError(f"{path} cannot be read: {reason}.")
