import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from holdfast.data.pictures import UnreadableImage
from holdfast.data.views import (
    ORDERS,
    Renderer,
    View,
    Views,
    crop_box,
    digests,
    draw_parameters,
    render,
)
from holdfast.settings import ViewSettings

SETTINGS = ViewSettings()
PLAIN = ViewSettings(crop=1, flip=0, jitter=0, hue=0, grayscale=0)


def digest(number):
    return hashlib.sha256(str(number).encode()).hexdigest()


def picture(width=40, height=30, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def pixels(image):
    return np.asarray(image).tobytes()


@pytest.fixture
def paths(tmp_path):
    for number in range(4):
        picture(seed=number).save(tmp_path / f"{number}.png")
    return sorted(tmp_path.iterdir())


def test_parameters_are_pinned():
    # Stored embeddings are found again by these numbers: a change of the code must not change them.
    found = draw_parameters(SETTINGS, digest(0), 3, seed=7)
    assert (found.place, found.order) == (3444526894, 0)
    assert (found.flip, found.grayscale) == (True, False)
    assert found.brightness == pytest.approx(1.0510464570252225, abs=1e-12)
    assert found.hue == pytest.approx(0.2733531315112486, abs=1e-12)
    assert crop_box(40, 30, found) == (2, 0, 37, 30)
    assert View(Path("a"), digest(0), found).key == (
        "fba4eb0c9d27f74e09db96ef82d32f2b04a7f2dd4fde71a8d2fc9236e233dd7f"
    )
    assert json.loads(json.dumps(asdict(found)))["place"] == found.place


def test_every_argument_changes_the_parameters():
    one = draw_parameters(SETTINGS, digest(0), 0, 0)
    assert one == draw_parameters(SETTINGS, digest(0), 0, 0)
    others = [
        draw_parameters(SETTINGS, digest(1), 0, 0),
        draw_parameters(SETTINGS, digest(0), 1, 0),
        draw_parameters(SETTINGS, digest(0), 0, 1),
        draw_parameters(replace(SETTINGS, crop=0.5), digest(0), 0, 0),
    ]
    keys = {View(Path("a"), digest(0), each).key for each in [one, *others]}
    assert len(keys) == 5


def test_the_key_is_that_of_content_not_of_place():
    parameters = draw_parameters(SETTINGS, digest(0), 0, 0)
    view = View(Path("a"), digest(0), parameters)
    assert view.key == View(Path("elsewhere"), digest(0), parameters).key
    assert view.key != View(Path("a"), digest(1), parameters).key
    assert view.key != View(Path("a"), digest(0)).key
    smaller = replace(parameters, size=112)
    assert view.key != View(Path("a"), digest(0), smaller).key


def test_draws_have_the_settings_distributions():
    many = [draw_parameters(SETTINGS, digest(n), 0, 0) for n in range(4000)]
    for name, middle, reach in (
        ("brightness", 1, 0.3),
        ("contrast", 1, 0.3),
        ("saturation", 1, 0.3),
        ("hue", 0, 0.3),
    ):
        values = torch.tensor([getattr(m, name) for m in many])
        assert (values - middle).abs().max() == pytest.approx(reach, abs=0.002)
        assert values.mean() == pytest.approx(middle, abs=0.02)
        assert values.std() == pytest.approx(reach / 3**0.5, abs=0.01)
    assert sum(m.flip for m in many) / 4000 == pytest.approx(0.5, abs=0.03)
    assert sum(m.grayscale for m in many) / 4000 == pytest.approx(0.1, abs=0.02)
    orders = np.bincount([m.order for m in many], minlength=len(ORDERS))
    assert len(orders) == 24 and orders.min() > 110


def test_crops_have_the_distribution_of_torchvisions():
    theirs = v2.RandomResizedCrop(224, scale=(0.7, 1.0))
    for width, height in ((64, 64), (90, 60)):
        whole = torch.empty(3, height, width)
        torch.manual_seed(0)
        expected = [theirs.make_params([whole]) for _ in range(3000)]
        found = [
            crop_box(width, height, draw_parameters(SETTINGS, digest(n), 0, 0)) for n in range(3000)
        ]
        for place, name in enumerate(("left", "top", "width", "height")):
            mine = np.array([box[place] for box in found], float)
            other = np.array([box[name] for box in expected], float)
            assert mine.mean() == pytest.approx(other.mean(), abs=0.35), (width, name)
            assert mine.std() == pytest.approx(other.std(), abs=0.25), (width, name)


def test_a_crop_lies_within_pictures_of_any_shape():
    for width, height in ((1, 1), (3, 200), (200, 3), (17, 19)):
        for number in range(50):
            box = crop_box(width, height, draw_parameters(SETTINGS, digest(0), number, 0))
            left, top, wide, high = box
            assert wide >= 1 and high >= 1
            assert 0 <= left <= width - wide and 0 <= top <= height - high


def test_a_long_picture_is_cropped_in_its_middle_as_torchvision_does():
    theirs = v2.RandomResizedCrop(224, scale=(0.7, 1.0)).make_params([torch.empty(3, 10, 100)])
    box = crop_box(100, 10, draw_parameters(SETTINGS, digest(0), 0, 0))
    assert box == tuple(theirs[name] for name in ("left", "top", "width", "height"))


def test_rendering_does_what_torchvisions_transforms_do():
    image = picture(300, 260)
    for number in range(8):
        p = draw_parameters(replace(SETTINGS, grayscale=0.5), digest(5), number, 0)
        left, top, width, height = crop_box(300, 260, p)
        expected = v2.functional.resized_crop(image, top, left, height, width, [224, 224])
        if p.flip:
            expected = expected.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        jitter = v2.ColorJitter(0.3, 0.3, 0.3, 0.3)
        names = ("brightness", "contrast", "saturation", "hue")
        chosen = {f"{name}_factor": getattr(p, name) for name in names}
        chosen["fn_idx"] = [names.index(name) for name in ORDERS[p.order]]
        expected = jitter.transform(expected, chosen)
        if p.grayscale:
            expected = expected.convert("L").convert("RGB")
        assert pixels(render(image, p)) == pixels(expected)


def test_a_view_gives_the_same_pixels_every_time(paths):
    views = Views(paths, SETTINGS, seed=0)
    one = views.view(0, 1).image()
    assert one.mode == "RGB"
    assert pixels(one) == pixels(Views(paths, SETTINGS, seed=0).view(0, 1).image())
    assert pixels(one) != pixels(views.view(0, 2).image())


def test_pixels_are_pinned():
    # The same on any machine, as long as Pillow and torchvision compute what they do now.
    view = render(picture(), draw_parameters(SETTINGS, digest(0), 3, seed=7))
    assert view.size == (37, 37)
    assert hashlib.sha256(pixels(view)).hexdigest()[:16] == "34747c3bc92ef8ce"


def test_without_changes_the_view_is_the_whole_picture(paths):
    image = picture(40, 40)
    p = draw_parameters(PLAIN, digest(0), 0, 0)
    assert pixels(render(image, p)) == pixels(image)
    whole = Views(paths, SETTINGS, seed=0).whole(2)
    assert pixels(whole.image()) == pixels(picture(seed=2))


def test_small_crops_are_not_enlarged():
    p = draw_parameters(PLAIN, digest(0), 0, 0)
    assert render(picture(32, 32), p).size == (32, 32)
    assert render(picture(300, 300), p).size == (224, 224)
    assert render(picture(300, 300), replace(p, size=64)).size == (64, 64)


def test_views_do_not_depend_on_the_list(paths):
    forward, backward = Views(paths, SETTINGS, 0), Views(paths[::-1], SETTINGS, 0)
    assert len(forward) == 4
    for index in range(4):
        assert forward.view(index, 5) == backward.view(3 - index, 5)


def test_digests_are_of_the_bytes(paths):
    assert digests(paths) == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def plain(image):
    return torch.from_numpy(np.array(image.resize((8, 8)))).permute(2, 0, 1)


@pytest.mark.parametrize("workers", [0, 3])
def test_the_renderer_prepares_batches_in_order(paths, workers):
    views = Views(paths, SETTINGS, 0)
    wanted = [(n, [views.view(i % 4, n) for i in range(n + 1)]) for n in range(5)]
    found = list(Renderer(plain, workers).batches(wanted))
    assert [item for item, _ in found] == [0, 1, 2, 3, 4]
    for (_, images), (_, asked) in zip(found, wanted, strict=True):
        assert torch.equal(images, torch.stack([plain(view.image()) for view in asked]))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_renderer_keeps_decoded_pictures_and_names_broken_ones(paths, workers):
    views = Views(paths, SETTINGS, 0)
    renderer = Renderer(plain, workers, cache_bytes=4 * 40 * 30)
    first = renderer.one(views.view(0, 0))
    for path in paths:
        path.write_bytes(b"")
    assert torch.equal(renderer.one(views.view(0, 0)), first)
    with pytest.raises(UnreadableImage, match=r"1\.png"):
        list(renderer.batches([(None, [views.view(0, 1), views.view(1, 0)])]))
