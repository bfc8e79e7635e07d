"""A small tree of domains from the embedded world, and what methods of distillation train in."""

from pathlib import Path

from PIL import Image

STYLES = ("line", "colour", "solid")
THINGS = ("bug", "camera", "gift")


def domain_tree(root: Path, styles=STYLES, things=THINGS, count=10) -> Path:
    """`root/<style>/<thing>/<n>.png`, 32 px."""
    from holdfast import pocket

    for style in styles:
        task = f"domains/{style}"
        drawn = dict(zip(pocket.class_names(task), pocket.pictures(task), strict=True))
        for thing in things:
            folder = root / style / thing
            folder.mkdir(parents=True)
            for n in range(count):
                Image.fromarray(drawn[thing][n]).save(folder / f"{n}.png")
    return root


def small_settings(data: Path, **changes):
    """Settings of runs that take a second."""
    from holdfast.commands.settings import DistillSettings

    stage = {"learning_rate": 1e-3, "steps": 4, "per_domain": 3, "validate_every": 2}
    settings = {
        "data": data,
        "teacher": "pocket",
        "student": "pocket",
        "views": 2,
        "view": {"size": 32},
        "align": stage,
        "train": stage,
        "average": {"kind": "none"},
        "workers": 0,
        "device": "cpu",
    }
    return DistillSettings(**(settings | changes))


def small_experiment(data: Path, store: Path, **changes):
    """(experiment, store): all domains, the pocket teacher, every view asked for."""
    import torch

    from holdfast.commands.distill import student_maker
    from holdfast.data.domains import scan_domains
    from holdfast.data.teacher_batches import TaughtImages, rounds
    from holdfast.data.views import Renderer, Views
    from holdfast.experiment import Experiment
    from holdfast.teachers import open_teacher
    from holdfast.teachers.store import EmbeddingStore

    settings = small_settings(data, **changes)
    domains = scan_domains(data)
    teacher = open_teacher(settings, "cpu")
    kept = EmbeddingStore(store, teacher)
    views = Views(domains.images.paths, settings.view, 0)
    kept.fill(*rounds(views, range(len(views)), max(1, settings.views)))

    def ask(seen):
        kept.fill(seen, bar=False)
        return kept.images(seen)

    tower = student_maker(settings, teacher)
    taught = TaughtImages(
        views=views,
        labels=torch.tensor(domains.images.labels),
        ask=ask,
        text=kept.text([f"a photo of a {name}" for name in domains.images.classes]),
        renderer=Renderer(tower(None, 0).preprocess),
    )
    return Experiment(settings, domains, taught, teacher.logit_scale, tower), kept


def train(experiment, folder: Path, method="vl2v", sources=(0, 1), seed=0, anchors=()):
    """(training, classifier): a student that a method trained; `method` as settings have it."""
    from holdfast.methods import Family, Method, compose
    from holdfast.training_run import TrainingRun

    training = TrainingRun(experiment, seed, sources, folder)
    method = Method.from_value(method, "method")
    return training, training.train(compose(method, anchors, Family.DISTILL))


def weights_of(module):
    """A copy of a module's weights."""
    return {name: t.clone() for name, t in module.state_dict().items()}


def changed(before, after):
    """The names of the weights that differ."""
    return {name for name, t in after.items() if not t.equal(before[name])}
