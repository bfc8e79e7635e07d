"""What a task and a stream of tasks would take."""

from holdfast.commands.continual_cost import add_cost
from holdfast.commands.continual_prepare import prepare
from holdfast.commands.settings import ContinualAddSettings


def test_the_model_is_not_changed(tasks, clip_folder, model, tmp_path):
    weights = clip_folder / "open_clip_model.safetensors"
    before = weights.read_bytes()
    settings = ContinualAddSettings(
        model,
        str(tasks / "colours"),
        tmp_path / "out",
        method="finetune",
        train={"workers": 0, "batch_size": 4},
        device="cpu",
    )
    assert add_cost(prepare(settings)).seconds > 0
    assert weights.read_bytes() == before and not (tmp_path / "out").exists()
