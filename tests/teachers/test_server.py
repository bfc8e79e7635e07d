"""`holdfast serve` as a process of its own, asked by the client and by hand."""

import base64
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import numpy as np
import pytest
import torch
from PIL import Image

from holdfast.cli import main
from holdfast.commands.serve import served_name
from holdfast.errors import HoldfastError
from holdfast.models.clip import load_clip
from holdfast.settings import ServeSettings, TeacherSettings
from holdfast.teachers import LocalTeacher, guard, open_teacher, server
from holdfast.teachers.store import EmbeddingStore

PROMPTS = ["a photo of a cat.", "été 犬 🐕", "", "long " * 100]


@pytest.fixture(scope="module")
def address():
    """A running service of the pocket CLIP; it must end by itself when it is told to."""
    command = [sys.executable, "-m", "holdfast", "serve", "pocket", "--port=0", "--device=cpu"]
    process = subprocess.Popen(
        [*command, "--max_inputs=8", "--max_request_mb=0.3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HOLDFAST_API_KEY": ""},
    )
    line = process.stdout.readline()
    found = re.fullmatch(r"Serving pocket at (http://127\.0\.0\.1:\d+/v1)\n", line)
    assert found, line + process.stderr.read()
    yield found[1]
    process.send_signal(signal.SIGTERM)
    _, printed = process.communicate(timeout=30)
    assert process.returncode == 143
    assert all("longer than the 24 tokens" in line for line in printed.splitlines()), printed


@pytest.fixture(scope="module")
def local():
    return open_teacher(TeacherSettings("pocket"), "cpu")


def png(**changes):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG", **changes)
    return base64.b64encode(buffer.getvalue()).decode()


def bomb():
    buffer = io.BytesIO()
    Image.new("1", (9500, 9500)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_embeddings_through_http_equal_those_of_the_local_teacher(address, local, views):
    remote = open_teacher(TeacherSettings(address, batch=4))
    for found, expected in (
        (remote.embed_images(views), local.embed_images(views)),
        (remote.embed_text(PROMPTS), local.embed_text(PROMPTS)),
    ):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=0, atol=5e-7)
    assert remote.logit_scale == local.logit_scale
    assert remote.model == "pocket"
    assert local.identity in remote.identity  # the same weights, told by another process


def test_what_was_bought_outlives_the_service(address, local, views, tmp_path):
    named = {"model": "pocket", "revision": "1", "logit_scale": 55.0, "retries": 0}
    store = EmbeddingStore(tmp_path, open_teacher(TeacherSettings(address, batch=4, **named)))
    store.fill(views, bar=False)
    store.text(PROMPTS)
    assert store.ledger.spent == len(views) + len(PROMPTS)
    assert not store.spot_check(views, count=3, seed=0).drifted
    gone = open_teacher(TeacherSettings("http://127.0.0.1:9", **named))
    kept = EmbeddingStore(tmp_path, gone)
    kept.fill(views, bar=False)
    torch.testing.assert_close(kept.images(views), local.embed_images(views), rtol=0, atol=1e-3)
    torch.testing.assert_close(kept.text(PROMPTS), local.embed_text(PROMPTS), rtol=0, atol=1e-3)
    with pytest.raises(HoldfastError, match="does not answer"):
        kept.text(["a new prompt"])


def test_many_clients_at_once(address, local, views):
    images, text = local.embed_images(views), local.embed_text(PROMPTS)

    def ask(number):
        remote = open_teacher(TeacherSettings(address, retries=0))
        if number % 2:
            return torch.allclose(remote.embed_images(views), images, rtol=0, atol=5e-7)
        return torch.allclose(remote.embed_text(PROMPTS), text, rtol=0, atol=5e-7)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(32)))


def test_the_routes_of_openai_and_of_infinity(address):
    root = address.removesuffix("/v1")
    assert httpx2.get(f"{root}/health").json() == {"status": "ok"}
    assert httpx2.get(f"{root}/models").json() == httpx2.get(f"{address}/models").json()
    bodies = [{"input": "a cat"}, {"input": ["a cat"], "model": "default/not-specified", "user": 1}]
    answers = [
        httpx2.post(f"{place}/embeddings", json=body).json()
        for place in (root, address)
        for body in bodies
    ]
    assert all(answer == answers[0] for answer in answers)
    assert set(answers[0]) == {"object", "model", "data", "usage"}
    assert set(answers[0]["data"][0]) == {"object", "index", "embedding"}


def test_embeddings_as_base64_and_images_without_a_data_uri(address):
    def ask(**body):
        answer = httpx2.post(f"{address}/embeddings", json={"modality": "image", **body})
        return [item["embedding"] for item in answer.json()["data"]]

    both = ask(input=[png(), f"data:image/png;base64,{png()}"])
    packed = ask(input=png(), encoding_format="base64")[0]
    unpacked = np.frombuffer(base64.b64decode(packed), "<f4")
    assert unpacked.tolist() == ask(input=png())[0]
    torch.testing.assert_close(torch.tensor(both[0]), torch.tensor(both[1]))


REFUSED = {
    "no JSON": (b"{", 400, "no JSON"),
    "deep JSON": (b"[" * 100_000, 400, "no JSON"),
    "not UTF-8": (b'{"input": "\xff"}', 400, "no JSON"),
    "a list": (b"[]", 400, "no JSON object"),
    "no input": ({}, 400, "input must be text"),
    "tokens": ({"input": [[1, 2]]}, 400, "input must be text"),
    "nothing": ({"input": []}, 422, "1 to 8 items, not 0"),
    "too many": ({"input": ["a"] * 9}, 422, "1 to 8 items, not 9"),
    "a book": ({"input": "a" * 5000}, 400, "more than 4096 characters"),
    "another model": ({"input": "a", "model": "clap"}, 404, "no model 'clap'; .* has 'pocket'"),
    "sound": ({"input": "a", "modality": "audio"}, 400, "'text' or 'image'"),
    "another form": ({"input": "a", "encoding_format": "int8"}, 400, "'float' or 'base64'"),
    "fewer dimensions": ({"input": "a", "dimensions": 8}, 400, "dimensions"),
    "an address": ({"input": "http://127.0.0.1/a.png"}, 400, "input 0 is an address, and none is"),
    "a file": ({"input": "file:///etc/passwd"}, 400, "is an address"),
    "a path": ({"input": "/etc/passwd"}, 400, "no image that can be read|no valid base64"),
    "plain data": ({"input": "data:image/png,abc"}, 400, "no data URI"),
    "no base64": ({"input": "data:image/png;base64,?"}, 400, "input 0 is no valid base64"),
    "no image": ({"input": [png(), "aGVsbG8="]}, 400, "input 1 is no image .* none of JPEG, PNG"),
    "half an image": ({"input": png()[:60]}, 400, "input 0 is no image that can be read"),
    "a bomb": ({"input": bomb()}, 400, "9500 x 9500 pixels are more than"),
    "a lot": ({"input": "a" * 1_000_000}, 413, "larger than 0.3 MB"),
}
TEXT = {"tokens", "a book", "another model", "another form", "fewer dimensions"}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_answered_is_refused_in_openais_form(address, case):
    body, status, message = REFUSED[case]
    if isinstance(body, dict):
        body = json.dumps({"modality": "text" if case in TEXT else "image", **body}).encode()
    answer = httpx2.post(f"{address}/embeddings", content=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert re.search(message, error["message"]), error
    assert error["code"] == status


def test_wrong_routes_are_refused_in_openais_form(address):
    assert httpx2.get(f"{address}/nothing").json()["error"]["code"] == 404
    assert httpx2.get(f"{address}/embeddings").json()["error"]["code"] == 405


def test_a_client_that_leaves_does_no_harm(address):
    """Half a request; that nothing is printed shows when the service ends."""
    host, port = address.split("/")[2].split(":")
    with socket.create_connection((host, int(port))) as leaving:
        leaving.sendall(b"POST /embeddings HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{")
    time.sleep(0.2)
    assert httpx2.get(f"{address}/models").status_code == 200


@pytest.fixture
def small(clip_folder, monkeypatch):
    """Starts a service of a tiny CLIP in a thread of this process; returns its address."""

    def start(key="s3cret", **limits):
        teacher = LocalTeacher(load_clip(f"local-dir:{clip_folder}", device="cpu"))
        for name, value in limits.items():
            monkeypatch.setattr(guard if hasattr(guard, name) else server, name, value)
        settings = ServeSettings("tiny", max_megapixels=100)
        service = server.application(teacher, "tiny", settings, key=key)
        at = server.listen("127.0.0.1", 0)
        threading.Thread(target=server.run, args=(service, at), daemon=True).start()
        return f"http://127.0.0.1:{at.getsockname()[1]}", teacher

    return start


def test_a_key_is_asked_of_everybody(small, monkeypatch):
    root, teacher = small()
    assert httpx2.get(f"{root}/health").status_code == 200
    for headers in ({}, {"Authorization": "Bearer secret"}, {"Authorization": "s3cret"}):
        assert httpx2.get(f"{root}/models", headers=headers).status_code == 401
        refused = httpx2.post(f"{root}/embeddings", headers=headers, json={"input": "a"})
        assert refused.status_code == 401 and "s3cret" not in refused.text
    monkeypatch.setenv("OPENAI_API_KEY", "s3cret")
    remote = open_teacher(TeacherSettings(root))
    torch.testing.assert_close(remote.embed_text(["a"]), teacher.embed_text(["a"]))


def test_a_request_that_trickles_in_is_given_up(small):
    root, _ = small(BODY_SECONDS=0.2)
    host, port = root.split("/")[2].split(":")
    with socket.create_connection((host, int(port))) as slow:
        head = b"POST /embeddings HTTP/1.1\r\nHost: localhost:1\r\nAuthorization: Bearer s3cret\r\n"
        slow.sendall(head + b"Content-Length: 1000\r\n\r\n{")
        slow.settimeout(10)
        assert b" 408 " in slow.recv(100)


def test_a_model_that_gives_nan_is_the_services_fault(small):
    root, teacher = small()
    teacher.clip.model.visual.proj.data[:] = float("nan")
    answer = httpx2.post(
        f"{root}/embeddings",
        json={"input": png(), "modality": "image"},
        headers={"Authorization": "Bearer s3cret"},
    )
    assert answer.status_code == 500 and "not finite" in answer.json()["error"]["message"]


def test_what_cannot_be_served_is_one_sentence(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "pocket", "--port", str(port)]) == 2
    assert f"Cannot listen on 127.0.0.1 port {port}: Address already" in capsys.readouterr().err
    assert main(["serve", "pocket", "--host", "192.0.2.1"]) == 2
    assert "Cannot listen on 192.0.2.1" in capsys.readouterr().err
    assert main(["serve", "pocket", "--port", "70000"]) == 2
    assert main(["serve"]) == 2
    assert main(["serve", "ViT-B-61", "--port", "0"]) == 2
    assert "ViT-B-16" in capsys.readouterr().err


def test_a_model_is_served_under_its_own_name_not_its_place(tmp_path):
    assert served_name("pocket") == "pocket"
    assert served_name(f"local-dir:{tmp_path}/my-clip/") == "my-clip"
    assert served_name("hf-hub:laion/CLIP") == "laion/CLIP"


def plain_png(side):
    """A picture of one colour: a small file, however large it is."""
    buffer = io.BytesIO()
    Image.new("L", (side, side)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:80"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "LOCALHOST"}, 200),
        ({"Host": "localhost:8000", "Origin": "http://localhost:8000"}, 200),
    ],
)
def test_another_host_and_other_pages_are_refused(small, headers, status):
    root, _ = small(key="")
    for path in ("models", "health"):
        assert httpx2.get(f"{root}/{path}", headers=headers).status_code == status
    asked = httpx2.post(f"{root}/embeddings", headers=headers, json={"input": "a"})
    assert asked.status_code == status


def test_a_service_with_a_key_answers_to_any_name(small):
    root, _ = small()
    headers = {"Host": "gpu-server:7997", "Authorization": "Bearer s3cret"}
    assert httpx2.get(f"{root}/models", headers=headers).status_code == 200
    headers["Origin"] = "http://evil.example"
    assert httpx2.get(f"{root}/models", headers=headers).status_code == 403


def test_half_sent_heads_block_nobody_and_are_closed(small):
    root, _ = small(key="", HEADER_SECONDS=1.0)
    host, port = root.split("/")[2].split(":")
    idle = [socket.create_connection((host, int(port))) for _ in range(100)]
    for connection in idle:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: loc")
    begun = time.monotonic()
    assert httpx2.get(f"{root}/health").status_code == 200
    assert time.monotonic() - begun < 2
    for connection in idle:
        connection.settimeout(10)
        assert connection.recv(100) == b""
        connection.close()


def test_a_request_has_a_number_of_pixels(small):
    root, _ = small(key="")
    many = {"input": [plain_png(6000)] * 3, "modality": "image"}
    answer = httpx2.post(f"{root}/embeddings", json=many, timeout=30)
    assert answer.status_code == 413 and "100 megapixels" in answer.json()["error"]["message"]


def test_large_pictures_keep_nobody_waiting(small):
    root, _ = small(key="")
    body = {"input": [plain_png(6000)] * 2, "modality": "image"}
    with ThreadPoolExecutor(8) as pool:
        slow = [
            pool.submit(httpx2.post, f"{root}/embeddings", json=body, timeout=120) for _ in range(8)
        ]
        time.sleep(0.3)
        begun = time.monotonic()
        quick = httpx2.post(f"{root}/embeddings", json={"input": png(), "modality": "image"})
        assert quick.status_code == 200 and time.monotonic() - begun < 2
        assert {each.result().status_code for each in slow} == {200}


def test_the_work_of_a_client_that_left_is_dropped(small, monkeypatch):
    decoded = []
    real = server.decode_image

    def counted(content, place):
        decoded.append(place)
        time.sleep(0.1)
        return real(content, place)

    monkeypatch.setattr(server, "decode_image", counted)
    root, _ = small(key="")
    body = {"input": [png()] * 100, "modality": "image"}
    with pytest.raises(httpx2.TimeoutException):
        httpx2.post(f"{root}/embeddings", json=body, timeout=0.5)
    time.sleep(1.0)
    count = len(decoded)
    time.sleep(0.5)
    assert len(decoded) == count < 30


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_read(small):
    root, _ = small(key="")
    host, port = root.split("/")[2].split(":")
    with socket.create_connection((host, int(port))) as large:
        head = b"POST /embeddings HTTP/1.1\r\nHost: localhost\r\n"
        large.sendall(head + b"Content-Length: 99000000\r\n\r\n")
        large.settimeout(10)
        assert b" 413 " in large.recv(100)
