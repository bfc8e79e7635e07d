"""Image generation and the building of a store, killed again and again."""

import random
import time
from pathlib import Path

from tests.faults.case import case, require
from tests.faults.small import NAMES, Apart, World, apart, leftovers
from tests.teachers.test_http import Service

from holdfast.data.domains import scan_domains
from holdfast.data.views import View
from holdfast.files import sha256
from holdfast.generation import generate_images
from holdfast.generation.manifest import read_manifest
from holdfast.json_lines import read_lines
from holdfast.names import from_names
from holdfast.settings import ImageSettings, TeacherSettings
from holdfast.teachers import open_teacher
from holdfast.teachers.store import EmbeddingStore

PROMPTS = [[f"a photo of a {name}."] for name in NAMES]
BATCH = 4  # images in a request


@case(
    8,
    "kill -9 image generation 10 times, and the building of a store 10 times",
    "final hashes of all items equal the undisturbed run, 0 gaps, duplicates or partial files; the "
    "ledger is what the service counted, but for requests in flight at a kill, paid again",
)
def killed_while_drawing_and_asking(folder: Path, times: int = 10) -> str:
    world = World(folder)
    return f"{drawing(world, folder, times)}; {asking(world, folder, times)}"


def draw(world: World, out: Path) -> None:
    """36 images."""
    settings = ImageSettings(steps=2, per_class=12, batch_size=5)
    generate_images(
        from_names(NAMES),
        PROMPTS,
        [12] * 3,
        out,
        str(world.diffusion),
        settings,
        seed=0,
        device="cpu",
    )


def drawing(world: World, folder: Path, times: int) -> str:
    """Kill the drawing after each few images."""
    whole, out = folder / "whole", folder / "drawn"
    ended = apart(draw, world, whole)
    require(ended.code == 0, ended.text)
    dice = random.Random(0)
    for number in range(times):
        process = Apart(draw, world, out)
        lines = 36 * number // times
        while not process.ended and len(read_lines(out / "manifest.jsonl", leave_out=True)) < lines:
            time.sleep(0.001)
        time.sleep(dice.uniform(0, 0.1))
        process.kill()
        process.wait()
    ended = apart(draw, world, out)
    require(ended.code == 0, ended.text)
    hashes, expected = (
        [(r.file, r.sha256) for r in read_manifest(f).records] for f in (out, whole)
    )
    require(hashes == expected and len(set(hashes)) == 36, "other images than undisturbed")
    files = {str(path.relative_to(out)) for path in out.rglob("*.png")}
    require(files == {name for name, _ in hashes}, "files that no line is about")
    require(not leftovers(out), leftovers(out))
    return f"{times} kills of drawing: 36 of 36 images the same"


def store_of(folder: Path, service: Service) -> EmbeddingStore:
    """A store of what the service answers."""
    # The two services are one teacher, whatever their ports.
    settings = TeacherSettings(service.url, model="clip", batch=BATCH, revision="1")
    return EmbeddingStore(folder, open_teacher(settings))


def fill(views: list, folder: Path, service: Service) -> None:
    """Ask for all views."""
    store_of(folder, service).fill(views, bar=False)


def asking(world: World, folder: Path, times: int) -> str:
    """Kill the client of a service that counts what it was asked."""
    views = views_of(world)
    calm, service = Service(), Service()
    whole, built = folder / "store-whole", folder / "store"
    ended = apart(fill, views, whole, calm)
    require(ended.code == 0, ended.text)
    dice, hit = random.Random(0), 0
    for number in range(times):
        process = Apart(fill, views, built, service)
        aim = max(counted(service), len(views) * number // times) + 1
        while not process.ended and counted(service) < aim:
            time.sleep(0.001)
        time.sleep(dice.uniform(0, 0.02))
        process.kill()
        hit += process.wait().code == -9
    ended = apart(fill, views, built, service)
    require(ended.code == 0, ended.text)
    one, other = store_of(whole, calm), store_of(built, service)
    require(one.images(views).equal(other.images(views)), "other embeddings than undisturbed")
    require(not other.missing(views), "gaps")
    sizes = [
        [(f / n).stat().st_size for n in ("keys", "embeddings.f16")]
        for f in (one.folder, other.folder)
    ]
    require(sizes[0] == sizes[1], f"duplicates or partial rows: {sizes}")
    spent, asked = other.ledger.spent, counted(service)
    require(asked <= spent <= asked + hit * BATCH, f"ledger {spent}, service {asked}")
    most = len(views) + hit * BATCH
    require(spent <= most, f"{spent} were paid for {len(views)} images and {hit} kills")
    return (
        f"{hit} kills of building a store: {len(views)} of {len(views)} rows the same, ledger "
        f"{spent}, service {asked} (each kill may pay one request of {BATCH} again)"
    )


def views_of(world: World) -> list[View]:
    """All images of the domains, whole."""
    return [View(path, sha256(path)) for path in scan_domains(world.domains).images.paths]


def counted(service: Service) -> int:
    """Images that the service was asked about."""
    return sum(len(body["input"]) for _, _, body in list(service.requests) if body)
