"""What Python may give in the place of a path: a loaded classifier, a picture in memory."""

from __future__ import annotations

import os
from typing import Any

from holdfast.settings.convert import FieldError, at_home, path_of


class ClassifierSource(str):
    """Where a classifier comes from: a folder, or a CLIP as open_clip calls it; `~` is expanded.

    loaded: the classifier itself where one was given; the text then says what it is.
    """

    loaded: Any = None

    @classmethod
    def from_value(cls, value: Any, where: str) -> ClassifierSource:
        """The source that `value` is. Raises UsageError, naming the field `where`."""
        if isinstance(value, cls):
            return value
        if isinstance(value, str | os.PathLike) and (text := os.fspath(value)):
            return cls(at_home(os.fsdecode(text)))
        if hasattr(value, "predict") and hasattr(value, "names"):
            found = cls(value)
            found.loaded = value
            return found
        raise FieldError(
            where, f" is {value!r}; it must be a folder, the name of a CLIP, or a classifier."
        )


class ImageInput:
    """An image as `predict` takes it: a file, a folder, or a picture in memory.

    It is only a type for settings: files are paths there, pictures stay what they are.
    """

    @classmethod
    def is_one(cls, value: Any) -> bool:
        """Whether `value` is a single image, and no list of them."""
        if isinstance(value, str | os.PathLike) or hasattr(value, "getexif"):
            return True
        return hasattr(value, "shape") and len(value.shape) in (2, 3)

    @classmethod
    def from_value(cls, value: Any, where: str) -> Any:
        """The path or the picture that `value` is. Raises UsageError, naming the field `where`."""
        if isinstance(value, str | os.PathLike) and (path := path_of(value)):
            return path
        if not isinstance(value, str | os.PathLike) and cls.is_one(value):
            return value
        raise FieldError(
            where, f" holds {value!r}; give paths, PIL images, arrays or tensors of one picture."
        )
