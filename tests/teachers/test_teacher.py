import pytest
import torch

from holdfast.errors import UsageError
from holdfast.settings import TeacherSettings
from holdfast.teachers import (
    FileTeacher,
    HTTPTeacher,
    LocalTeacher,
    open_teacher,
    write_embeddings,
)
from holdfast.teachers.teacher import Unusable, unit_rows


def test_rows_are_float32_of_length_one_without_a_graph():
    rows = torch.tensor([[3.0, 4.0], [0.0, -2.0]], dtype=torch.float64, requires_grad=True)
    found = unit_rows(rows, "it")
    assert torch.equal(found, torch.tensor([[0.6, 0.8], [0.0, -1.0]]))
    assert found.dtype == torch.float32 and not found.requires_grad


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ([float("nan"), 1.0], "row 1 of 3 is not finite"),
        ([float("inf"), 1.0], "row 1 of 3 is not finite"),
        ([0.0, 0.0], "row 1 of 3 is all zeros"),
    ],
)
def test_a_row_that_is_no_embedding_is_named_and_the_others_can_be_used(value, what):
    rows = torch.tensor([[3.0, 4.0], value, [5.0, 0.0]])
    with pytest.raises(Unusable, match=f"the store: the embedding in {what}") as caught:
        unit_rows(rows, "the store")
    assert caught.value.usable.tolist() == [True, False, True]
    assert torch.equal(caught.value.rows[[0, 2]], torch.tensor([[0.6, 0.8], [1.0, 0.0]]))


def test_what_the_setting_names(tmp_path, clip_folder):
    write_embeddings(tmp_path / "e", ["a"], torch.ones(1, 2), ["b"], torch.ones(1, 2), "me", 7.0)
    kinds = {
        "http://127.0.0.1:1/v1": HTTPTeacher,
        "https://example.org/v1": HTTPTeacher,
        f"file:{tmp_path / 'e'}": FileTeacher,
        f"local-dir:{clip_folder}": LocalTeacher,
    }
    for name, kind in kinds.items():
        settings = TeacherSettings(teacher=name, logit_scale=3.0, batch=5)
        teacher = open_teacher(settings, "cpu")
        assert type(teacher) is kind and teacher.logit_scale == 3.0
        assert teacher.batch == (1024 if kind is FileTeacher else 5)
        assert teacher.free == (kind is FileTeacher)
    assert open_teacher(TeacherSettings(teacher=f"file:{tmp_path / 'e'}")).logit_scale == 7.0
    with pytest.raises(UsageError, match="no file of embeddings"):
        open_teacher(TeacherSettings(teacher=f"file:{tmp_path / 'none'}"))
