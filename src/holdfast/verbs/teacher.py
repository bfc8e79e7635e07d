"""The teacher that a verb's settings name."""

from __future__ import annotations

from holdfast.settings import TeacherSettings
from holdfast.teachers import LocalTeacher, Teacher, open_teacher
from holdfast.verbs.measure import load


def load_teacher(settings: TeacherSettings, device: str = "auto") -> Teacher:
    """`open_teacher`, with `pocket` for the embedded model."""
    if settings.teacher == "pocket":
        clip = load("pocket", "", device, 0)
        return LocalTeacher(clip, settings.batch, settings.logit_scale)
    return open_teacher(settings, device)
