"""Teachers: models that are asked for embeddings, here, in a file, or behind HTTP."""

from __future__ import annotations

from pathlib import Path

from holdfast.models.clip import load_clip
from holdfast.places import absolute_model
from holdfast.settings import TeacherSettings
from holdfast.teachers.file import FileTeacher, write_embeddings
from holdfast.teachers.http import HTTPTeacher
from holdfast.teachers.local import LocalTeacher
from holdfast.teachers.teacher import Teacher

__all__ = [
    "FileTeacher",
    "HTTPTeacher",
    "LocalTeacher",
    "Teacher",
    "open_teacher",
    "write_embeddings",
]


def open_teacher(settings: TeacherSettings, device: str = "auto") -> Teacher:
    """The teacher that `settings.teacher` names: an address, `file:PATH`, or a model.

    settings: of the teacher. device: of a local model, `auto` or as torch names it.
    Raises UsageError for a file or model that does not exist. A service is not asked before its
    answers are needed.
    """
    place = absolute_model(settings.teacher)
    if place.startswith(("http://", "https://")):
        return HTTPTeacher(settings)
    if place.startswith("file:"):
        return FileTeacher(Path(place.removeprefix("file:")), settings.logit_scale)
    clip = load_clip(settings.teacher, settings.pretrained, device)
    return LocalTeacher(clip, settings.batch, settings.logit_scale)
