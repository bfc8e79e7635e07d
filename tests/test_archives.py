"""Files in tar archives, read where they lie."""

import io
import tarfile
from pathlib import Path

import pytest
from tests.data.shards import shard

from holdfast.archives import members, open_file, state_of
from holdfast.errors import UsageError


def test_a_file_in_an_archive_is_read_as_any_other(tmp_path):
    archive = shard(tmp_path / "a.tar", [{"txt": "one"}, {"txt": "second"}])
    plain = tmp_path / "b.txt"
    plain.write_text("three")
    for path, text in ((archive / "a-00001.txt", b"second"), (plain, b"three")):
        with open_file(path) as opened:
            assert opened.read() == text
        assert state_of(path)[0] == len(text)
    for missing in (archive / "no.txt", tmp_path / "no.tar" / "x", tmp_path / "no.txt"):
        for read in (open_file, state_of):
            with pytest.raises(FileNotFoundError):
                read(missing)
    folder = tmp_path / "odd.tar" / "x.tar"
    folder.mkdir(parents=True)
    shard(folder / "c.tar", [{"txt": "deep"}])
    with open_file(folder / "c.tar" / "c-00000.txt") as opened:
        assert opened.read() == b"deep"


def test_an_archive_that_changed_is_read_again(tmp_path):
    archive = shard(tmp_path / "a.tar", [{"txt": "one"}])
    assert list(members(archive)) == ["a-00000.txt"]
    shard(archive, [{"txt": "one"}, {"txt": "two"}])
    assert list(members(archive)) == ["a-00000.txt", "a-00001.txt"]


def test_nothing_leads_out_of_an_archive(tmp_path):
    (tmp_path / "secret").write_text("secret")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in ("../secret", "/etc/passwd", "x/../../secret"):
            member = tarfile.TarInfo(name)
            member.size = 1
            archive.addfile(member, io.BytesIO(b"x"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
        archive.addfile(link)
    assert members(tmp_path / "a.tar") == {}
    for name in ("../secret", "link"):
        with pytest.raises(FileNotFoundError):
            open_file(Path(f"{tmp_path}/a.tar/{name}"))


@pytest.mark.parametrize("data", [b"no archive" * 100, b""])
def test_what_is_no_archive_is_one_sentence(tmp_path, data):
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(
        UsageError, match=r"a\.tar is no plain tar file .*; pack it without compress"
    ):
        members(tmp_path / "a.tar")
