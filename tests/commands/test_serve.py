"""`holdfast serve`: who may ask, and under which name; requests are tested in tests/teachers."""

import sys

import pytest
from tests.test_cli import error_of

from holdfast.commands import serve as module
from holdfast.commands.settings import ServeSettings, TransferSettings
from holdfast.errors import HoldfastError, UsageError
from holdfast.teachers import server


@pytest.fixture
def served(monkeypatch):
    """Where a service would have listened, without it."""
    found = []
    monkeypatch.setattr(server, "run", lambda service, at: found.append(at.getsockname()))
    return found


def test_a_service_says_where_it_listens_and_what_it_is_called(served, clip_folder, capsys):
    module.serve(ServeSettings(f"local-dir:{clip_folder}", port=0, device="cpu"))
    [(host, port)] = served
    printed = capsys.readouterr().out
    assert printed == f"Serving {clip_folder.name} at http://{host}:{port}/v1\n"


def test_an_open_service_needs_a_secret(served, clip_folder, monkeypatch):
    settings = ServeSettings(f"local-dir:{clip_folder}", host="0.0.0.0", port=0, device="cpu")
    monkeypatch.delenv("HOLDFAST_API_KEY", raising=False)
    with pytest.raises(UsageError, match="HOLDFAST_API_KEY to a secret"):
        module.serve(settings)
    assert not served
    monkeypatch.setenv("HOLDFAST_API_KEY", "secret")
    module.serve(settings)
    assert served


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1", True), ("127.3.2.1", True), ("::1", True), ("0.0.0.0", False), ("::", False)],
)
def test_addresses_that_only_this_machine_reaches(address, expected):
    assert module.is_loopback(address) is expected


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("pocket", "pocket"),
        ("hf-hub:a/b", "a/b"),
        ("local-dir:/models/x/", "x"),
        ("ViT-B", "ViT-B"),
    ],
)
def test_clients_ask_for_a_name_and_not_for_a_way(model, name):
    assert module.served_name(model) == name


def test_what_cannot_be_served_is_one_sentence(capsys):
    code, line = error_of(capsys, "serve")
    assert code == 2 and "The setting model is missing" in line
    code, line = error_of(capsys, "serve", "ViT-B-61", "--port", "0")
    assert code == 2 and "did you mean ViT-B-16" in line
    code, line = error_of(capsys, "serve", "pocket", "--host", "nowhere.invalid")
    assert code == 2 and "nowhere.invalid" in line


def test_an_architecture_has_the_same_weights_by_default_as_elsewhere():
    assert ServeSettings("ViT-B-16").pretrained == TransferSettings(["a"]).pretrained == "openai"


def test_without_a_server_library_the_command_that_installs_it_is_named(clip_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(HoldfastError, match=r"uvicorn, .* 'holdfast\[serve\]'"):
        module.serve(ServeSettings(f"local-dir:{clip_folder}", port=0, device="cpu"))
