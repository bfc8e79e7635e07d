import hashlib
import logging
import random
import shutil

import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from holdfast.data.domains import (
    DomainBatches,
    domain_split,
    evenly,
    find_unreadable,
    scan_domains,
)
from holdfast.errors import HoldfastError, UsageError


def add(path, colour=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (colour, 0, 0)).save(path)


@pytest.fixture
def root(tmp_path):
    """Three domains of two classes, with 5, 6 and 7 images of each."""
    for number, domain in enumerate(("sketch", "art", "photo")):
        for name in ("wood_cup", "axe"):
            for n in range(5 + number):
                add(tmp_path / domain / name / f"{n}.png", n)
    return tmp_path


def test_domains_share_one_list_of_classes(root):
    (root / "photo" / "wood_cup").rename(root / "photo" / "Wood cup")
    add(root / "art" / "axe" / "more" / "x.JPG")
    add(root / "art" / "axe" / ".hidden.png")
    (root / ".cache").mkdir()
    domains = scan_domains(root)
    assert domains.names == ("art", "photo", "sketch")
    assert len(domains) == 3
    assert domains.images.classes.names == ("axe", "wood cup")
    assert domains.starts == (0, 13, 27, 37)
    names = [domains.images.classes.names[label] for label in domains.images.labels]
    folders = [path.relative_to(root).parts[1] for path in domains.images.paths]
    expected = {"axe": "axe", "wood_cup": "wood cup", "Wood cup": "wood cup"}
    assert names == [expected[folder] for folder in folders]
    for domain, name in enumerate(domains.names):
        paths = [domains.images.paths[index] for index in domains.indices(domain)]
        assert {path.relative_to(root).parts[0] for path in paths} == {name}


def test_images_come_in_the_order_of_torchvisions_image_folder(root):
    add(root / "art" / "axe" / "10.png")
    add(root / "art" / "axe" / "B.jpg")
    add(root / "art" / "axe" / "a" / "0.png")
    domains = scan_domains(root)
    for domain, name in enumerate(domains.names):
        theirs = [path for path, _ in ImageFolder(root / name).samples]
        mine = [str(domains.images.paths[index]) for index in domains.indices(domain)]
        assert mine == theirs


def test_what_is_wrong_with_domains_is_one_sentence(root, tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        scan_domains(root / "none")
    for path in (root / "photo" / "axe").iterdir():
        path.unlink()
    with pytest.raises(HoldfastError, match="photo/axe has no image files"):
        scan_domains(root)
    (root / "photo" / "axe").rmdir()
    add(root / "photo" / "bowl" / "0.png")
    with pytest.raises(UsageError, match=r"The domain 'art' of .* lacks the class 'bowl', which"):
        scan_domains(root)
    (root / "photo" / "bowl").rename(root / "art" / "bowl")
    add(root / "photo" / "bat" / "0.png")
    with pytest.raises(UsageError, match=r"'art' of .* lacks the class 'bat'"):
        scan_domains(root)
    add(root / "art" / "bat" / "0.png")
    with pytest.raises(UsageError, match=r"'photo' of .* lacks the classes 'axe', 'bowl', which"):
        scan_domains(root)


def test_a_domain_with_one_class_is_named(root):
    (root / "art" / "axe").rename(root / "axe")
    with pytest.raises(
        UsageError,
        match=r"In the domain .*art holds one folder only, 'wood_cup', and there must be two",
    ):
        scan_domains(root)


def test_one_domain_is_too_few(tmp_path):
    with pytest.raises(UsageError, match="has no domains; its images must lie in <domain>"):
        scan_domains(tmp_path)
    add(tmp_path / "art" / "axe" / "0.png")
    with pytest.raises(UsageError, match="has only the domain 'art'"):
        scan_domains(tmp_path)


def by_hand(domain, count, trial_seed):
    """The same shuffle without NumPy: MT19937 seeded by Knuth's line, then Fisher and Yates."""
    text = f"({trial_seed}, {domain})"
    seed = int.from_bytes(hashlib.md5(text.encode()).digest(), "big") % 2**31
    state = [seed]
    for place in range(1, 624):
        state.append((1812433253 * (state[-1] ^ (state[-1] >> 30)) + place) % 2**32)
    twister = random.Random()
    twister.setstate((3, (*state, 624), None))
    places = list(range(count))
    for last in range(count - 1, 0, -1):
        mask = 2 ** last.bit_length() - 1
        while (other := twister.getrandbits(32) & mask) > last:
            pass
        places[last], places[other] = places[other], places[last]
    return places


@pytest.mark.parametrize(("domain", "count", "trial_seed"), [(0, 10, 0), (3, 2427, 1), (1, 0, 2)])
def test_the_split_is_domainbeds(domain, count, trial_seed):
    held_out, training = domain_split(domain, count, trial_seed)
    assert len(held_out) == count // 5
    assert held_out + training == by_hand(domain, count, trial_seed)


def test_the_split_is_pinned():
    assert [domain_split(d, 20, t)[0] for d, t in ((0, 0), (1, 0), (0, 1), (5, 2))] == [
        [7, 6, 10, 17],
        [3, 1, 0, 17],
        [8, 9, 18, 15],
        [4, 0, 10, 18],
    ]
    sizes = {n: len(domain_split(0, n, 0)[0]) for n in (1, 4, 5, 9, 2427, 4365)}
    assert sizes == {1: 0, 4: 0, 5: 1, 9: 1, 2427: 485, 4365: 873}


def test_a_domains_split_counts_in_all_images(root):
    domains = scan_domains(root)
    for domain in range(3):
        start = domains.starts[domain]
        held_out, training = domains.split(domain, trial_seed=4)
        expected = domain_split(domain, len(domains.indices(domain)), 4)
        assert [i - start for i in held_out] == expected[0]
        assert [i - start for i in training] == expected[1]


def test_unreadable_images_are_named_and_leave_the_others_where_they_are(root, caplog):
    whole = scan_domains(root)
    victim = whole.split(1, 0)[1][0]
    path = whole.images.paths[victim]
    path.write_bytes(path.read_bytes()[:40])
    with caplog.at_level(logging.WARNING):
        domains = find_unreadable(scan_domains(root))
    assert list(domains.unreadable) == [victim] and "none of JPEG" in domains.unreadable[victim]
    assert caplog.text.count(str(path)) == 1
    assert victim not in domains.indices(1)
    assert domains.split(1, 0)[0] == whole.split(1, 0)[0]
    assert domains.split(1, 0)[1] == whole.split(1, 0)[1][1:]
    assert domains.split(0, 0) == whole.split(0, 0)
    for index in whole.indices(2):
        whole.images.paths[index].write_bytes(b"")
    with pytest.raises(HoldfastError, match=r"No image of the domain 'sketch' .* can be read"):
        find_unreadable(scan_domains(root))


def test_a_draw_is_a_function_of_seed_and_step():
    groups = [range(10, 20), range(100, 103)]
    batches = DomainBatches(groups, per_domain=4, steps=5, views=3, seed=0)
    drawn = list(batches(0))
    assert len(batches) == len(drawn) == 5
    for draw, again in zip(drawn[2:], batches(2), strict=True):
        assert torch.equal(draw.indices, again.indices)
        assert torch.equal(draw.numbers, again.numbers)
    for draw in drawn:
        assert all(10 <= index < 20 for index in draw.indices[:4])
        assert all(100 <= index < 103 for index in draw.indices[4:])
        assert set(draw.numbers.tolist()) <= {0, 1, 2}
    other = next(DomainBatches(groups, 4, 5, 3, seed=1)(0))
    assert not torch.equal(other.indices, drawn[0].indices)
    # A checkpoint of an older version must find the same draws.
    assert (drawn[0].indices.tolist(), drawn[0].numbers.tolist()) == (
        [12, 10, 16, 12, 100, 101, 102, 102],
        [0, 1, 1, 1, 1, 0, 2, 2],
    )


def test_draws_are_uniform_with_replacement():
    batches = DomainBatches([range(5)], per_domain=8, steps=1000, views=4, seed=0)
    indices = torch.cat([draw.indices for draw in batches(0)])
    numbers = torch.cat([draw.numbers for draw in batches(0)])
    both = torch.bincount(indices * 4 + numbers)
    assert len(both) == 20
    assert (both - 400).abs().max() < 80  # four standard deviations


def test_online_every_draw_has_a_view_of_its_own():
    batches = DomainBatches([range(3), range(3, 6)], per_domain=4, steps=6, views=0, seed=0)
    numbers = torch.cat([draw.numbers for draw in batches(0)])
    assert numbers.tolist() == list(range(48))


def test_places_evenly_spaced():
    assert evenly([3, 5, 7, 9, 11, 13], 3) == [3, 7, 11]
    assert evenly([3, 5], 9) == [3, 5]
    assert evenly([], 4) == []


def test_a_distillation_refuses_splits_and_classes_in_place_of_domains(root, tmp_path):
    """As Kaggle and VLCS have them: their splits were learnt as classes."""
    for outer, inner in (("Training", "photo"), ("Testing", "sketch")):
        shutil.copytree(root / inner, tmp_path / "kaggle" / outer)
    with pytest.raises(UsageError, match=r"kaggle holds splits \(train, test\), and no domains"):
        scan_domains(tmp_path / "kaggle")
    for domain in ("photo", "sketch"):
        for split in ("crossval", "full", "test", "train"):
            shutil.copytree(root / domain, tmp_path / "vlcs" / domain / split)
    with pytest.raises(UsageError, match="has 'full' beside crossval and test and train"):
        scan_domains(tmp_path / "vlcs")
    for domain in ("photo", "sketch"):
        shutil.rmtree(tmp_path / "vlcs" / domain / "full")
        shutil.rmtree(tmp_path / "vlcs" / domain / "crossval")
    with pytest.raises(UsageError, match=r"photo holds splits \(train, test\) where its classes"):
        scan_domains(tmp_path / "vlcs")
    with pytest.raises(UsageError, match="photo holds classes and no domains"):
        scan_domains(root / "photo")


def test_domains_in_a_table_are_those_of_folders(root, tmp_path):
    folders = scan_domains(root)
    rows = ["file_name,label,domain"]
    for domain in folders.names:
        for path in sorted((root / domain).rglob("*.png")):
            rows.append(f"{path.relative_to(root)},{path.parent.name},{domain}")
    (root / "metadata.csv").write_text("\n".join(rows))
    table = scan_domains(root)
    assert (table.names, table.starts) == (folders.names, folders.starts)
    assert table.images.classes == folders.images.classes
    assert dict(zip(table.images.paths, table.images.labels, strict=True)) == dict(
        zip(folders.images.paths, folders.images.labels, strict=True)
    )
