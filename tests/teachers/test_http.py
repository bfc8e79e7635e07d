"""The client, against a service on a real socket that answers as Infinity 0.0.78 was seen to."""

import base64
import contextlib
import io
import json
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from PIL import Image

from holdfast.errors import HoldfastError, UsageError
from holdfast.settings import TeacherSettings
from holdfast.teachers import http as client
from holdfast.teachers import open_teacher
from holdfast.teachers.ledger import BudgetExhausted
from holdfast.teachers.store import EmbeddingStore
from holdfast.teachers.teacher import NotTaken

ENTRY = {
    "id": "clip",
    "stats": {"queue_fraction": 0.0, "queue_absolute": 0, "results_pending": 0, "batch_size": 32},
    "object": "model",
    "owned_by": "infinity",
    "created": 1795367780,
    "backend": "torch",
    "capabilities": ["image_embed", "embed"],
}


def pixels(uri):
    """The picture of a data URI, (height, width, 3)."""
    head, data = uri.split(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data, validate=True))))


def embedded(body):
    """[length, 1, 1] of a text; the mean colour of a picture."""
    image = body["modality"] == "image"
    return [pixels(x).mean((0, 1)).tolist() if image else [len(x), 1, 1] for x in body["input"]]


def answer(rows, **changes):
    data = [{"object": "embedding", "embedding": e, "index": i} for i, e in enumerate(rows)]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    return {"object": "list", "data": data, "model": "clip", "usage": usage, "id": "x"} | changes


class Service:
    """Answers from the queue `next` (status, text, headers), else properly."""

    def __init__(self):
        self.requests, self.next, self.models = [], [], [ENTRY]
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                service.requests.append((self.path, dict(self.headers), None))
                self.reply({"data": service.models, "object": "list"})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.requests.append((self.path, dict(self.headers), body))
                self.reply(answer(embedded(body)))

            def reply(self, value):
                given = service.next.pop(0) if service.next else (200, json.dumps(value), {})
                status, text, headers = given() if callable(given) else given
                self.send_response(status)
                for key, each in {"Content-Length": len(text.encode()), **headers}.items():
                    self.send_header(key, str(each))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

            def handle(self):
                with contextlib.suppress(ConnectionError):  # the client lost its patience
                    super().handle()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def says(self, value, status=200, **headers):
        text = value if isinstance(value, str) else json.dumps(value)
        self.next.append((status, text, {k.replace("_", "-"): v for k, v in headers.items()}))

    def teacher(self, **changes):
        return open_teacher(TeacherSettings(self.url, **{"model": "clip", "timeout": 5} | changes))


@pytest.fixture
def pauses(monkeypatch):
    """The pauses that the client would have made."""
    made = []
    monkeypatch.setattr(client.time, "sleep", made.append)
    return made


@pytest.fixture
def service(monkeypatch, pauses):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    service = Service()
    yield service
    service.server.shutdown()
    service.server.server_close()


def test_images_go_without_loss_in_batches_and_come_back_in_order(service, views):
    found = service.teacher(batch=4).embed_images(views)
    expected = torch.tensor(np.stack([np.asarray(v.image()).mean((0, 1)) for v in views])).float()
    torch.testing.assert_close(found, torch.nn.functional.normalize(expected, dim=1))
    path, headers, body = service.requests[0]
    assert path == "/embeddings" and headers["Authorization"] == "Bearer sk-secret"
    sent = {"model": "clip", "input": 4, "modality": "image", "encoding_format": "float"}
    assert {**body, "input": len(body["input"])} == sent
    assert (pixels(body["input"][3]) == np.asarray(views[3].image())).all()
    assert [len(body["input"]) for _, _, body in service.requests] == [4, 2]


@pytest.mark.parametrize("count", [1, 2])
def test_rows_without_an_index_are_in_order_and_a_list_around_one_is_taken_off(service, count):
    rows = [[0.0, 1.0], [3.0, 4.0]][:count]
    service.says({"data": [{"embedding": [row]} for row in rows]})
    found = service.teacher().embed_text(["a", "b"][:count])
    expected = torch.tensor([[0.0, 1.0], [0.6, 0.8]][:count])
    torch.testing.assert_close(found, expected)


def test_rows_are_put_in_the_order_of_their_index(service):
    shuffled = answer([[1, 0], [0, 1], [3, 4]])
    shuffled["data"] = [shuffled["data"][i] for i in (2, 0, 1)]
    service.says(shuffled)
    found = service.teacher().embed_text(["a", "b", "c"])
    torch.testing.assert_close(found, torch.tensor([[1, 0], [0, 1], [0.6, 0.8]]))
    assert service.requests[0][2]["modality"] == "text"
    assert service.requests[0][2]["input"] == ["a", "b", "c"]


def test_a_busy_service_is_asked_again_after_longer_and_longer_pauses(service, pauses):
    for status in (503, 500, 429, 502):
        service.says("busy", status=status)
    assert service.teacher().embed_text(["four"]).shape == (1, 3)
    assert len(service.requests) == 5
    for pause, longest in zip(pauses, (1, 2, 4, 8), strict=True):
        assert longest / 2 <= pause <= longest


def test_a_service_that_says_when_to_come_back_is_obeyed(service, pauses):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    service.says("busy", status=429, Retry_After=37)
    service.says("busy", status=503, Retry_After=date)
    service.says("busy", status=503, Retry_After="soon")
    service.teacher().embed_text(["a"])
    assert pauses[0] == 37 and 95 < pauses[1] <= 100 and 2 <= pauses[2] <= 4
    service.says("busy", status=429, Retry_After=86400)
    with pytest.raises(HoldfastError, match=r"status 429: busy; 1 try; .* alone for 86400 s"):
        service.teacher().embed_text(["a"])
    assert len(pauses) == 3


def test_a_service_that_stays_busy_ends_the_run(service, pauses):
    for _ in range(3):
        service.says({"error": {"message": "model clip is currently overloaded"}}, status=429)
    with pytest.raises(HoldfastError, match=r"currently overloaded; 3 tries\); see that it runs"):
        service.teacher(retries=2).embed_text(["a"])
    assert len(pauses) == 2


def test_a_service_that_is_down_or_silent(service, pauses):
    service.next += [late] * 2
    with pytest.raises(HoldfastError, match=r"no whole answer within 0.05 s; 2 tries") as e:
        service.teacher(timeout=0.05, retries=1).embed_text(["a"])
    assert not isinstance(e.value, NotTaken)
    down = open_teacher(TeacherSettings("http://user:pw@127.0.0.1:9/v1", model="m", retries=1))
    with pytest.raises(NotTaken, match=r"127\.0\.0\.1:9/v1 does not answer .*refused; 2 t") as e:
        down.embed_text(["a"])
    assert "pw" not in str(e.value)
    assert len(pauses) == 2


@pytest.mark.parametrize(
    ("statuses", "not_taken"),
    [((401,), True), ((429, 429), True), ((503, 429), True), ((429, 503), False), ((504,), False)],
)
def test_what_nobody_took_is_told_apart(service, pauses, statuses, not_taken):
    """A service that failed may have worked on the last try, and may charge for it."""
    for status in statuses:
        service.says("no", status=status)
    with pytest.raises(HoldfastError) as error:
        service.teacher(retries=len(statuses) - 1).embed_text(["a"])
    assert isinstance(error.value, NotTaken) == not_taken


def late():
    threading.Event().wait(0.3)
    return 200, "{}", {}


def test_a_connection_that_breaks_is_tried_again(service, pauses):
    service.next.append((200, "", {"Content-Length": 100, "Connection": "close"}))
    assert service.teacher().embed_text(["four"]).shape == (1, 3)
    assert len(pauses) == 1


class RawService:
    """Answers each connection with bytes, as `write(connection)` sends them; counts requests."""

    def __init__(self, write):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        self.write, self.asked = write, 0
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.server.accept()
                threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection):
        with connection, contextlib.suppress(OSError):
            asked = b""
            while b"}" not in asked:
                asked += connection.recv(2**20)
            self.asked += 1
            self.write(connection)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def drip(connection):
    for letter in HEAD * 1000:
        connection.sendall(bytes([letter]))
        threading.Event().wait(0.02)


def drip_body(connection):
    connection.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
    for _ in range(1000):
        connection.sendall(b" ")
        threading.Event().wait(0.02)


@pytest.mark.parametrize("write", [drip, drip_body])
def test_an_answer_that_drips_has_the_time_of_any_other(write, pauses):
    service = RawService(write)
    begun = time.monotonic()
    teacher = open_teacher(TeacherSettings(service.url, model="m", timeout=0.3, retries=1))
    with pytest.raises(HoldfastError, match=r"no whole answer within 0.3 s; 2 tries") as error:
        teacher.embed_text(["a"])
    assert time.monotonic() - begun < 3 and not isinstance(error.value, NotTaken)


def endless(connection):
    connection.sendall(HEAD + b"Content-Length: 5000000000\r\n\r\n")
    while True:
        connection.sendall(b"[" * 2**16)


def test_an_answer_of_any_size_is_not_taken(pauses):
    service = RawService(endless)
    teacher = open_teacher(TeacherSettings(service.url, model="m", timeout=20))
    with pytest.raises(HoldfastError, match=r"answers with more than 1,310,720 bytes"):
        teacher.embed_text(["a"])
    assert service.asked == 1 and not pauses


def test_an_answer_that_is_nested_too_deeply_is_one_sentence(service, pauses):
    service.says("[" * 10_000 + "]" * 10_000)
    with pytest.raises(HoldfastError, match="something else than JSON"):
        service.teacher().embed_text(["a"])


def test_all_tries_have_an_end_in_common(service, monkeypatch):
    monkeypatch.setattr(client, "PATIENCE", 0.5)
    monkeypatch.setattr(client, "PAUSE", 0.0)
    monkeypatch.setattr(client.time, "sleep", threading.Event().wait)
    for _ in range(100):
        service.says("busy", status=429, Retry_After=0.2)
    with pytest.raises(NotTaken, match=r"429: busy; [23] tries"):
        service.teacher(retries=99).embed_text(["a"])


def test_the_ledger_counts_what_the_service_counted(service, pauses, tmp_path):
    """Each try that the service may have worked on is paid; one that it refused is not."""
    store = EmbeddingStore(tmp_path, service.teacher(batch=2, retries=9))
    service.says("failed", status=503)
    service.says("busy", status=429)
    service.next.append((200, "", {"Content-Length": 100, "Connection": "close"}))
    store.text(["a", "b", "c"])
    counted = [len(body["input"]) for _, _, body in service.requests if body]
    assert counted == [2, 2, 2, 2, 1]
    assert store.ledger.spent == sum(counted) - 2 == 7
    assert store.ledger.unanswered == 4


def test_the_budget_is_a_ceiling_for_tries_too(service, pauses, tmp_path):
    store = EmbeddingStore(tmp_path, service.teacher(retries=9), max_queries=5)
    for _ in range(9):
        service.says("failed", status=500)
    with pytest.raises(BudgetExhausted, match=r"of 5 queries is spent \(4 so far\)"):
        store.text(["a", "b"])
    assert sum(len(body["input"]) for _, _, body in service.requests if body) == 4


NAN = float("nan")
ODD = {
    "one has no number": (answer([[1, 2], [NAN, 1]]), "row 1 of 2 is not finite"),
    "one has null, as orjson writes NaN": (answer([[1, 2], [None, 1]]), "row 1 of 2 is not finite"),
    "one is too large": (answer([[1, 2], [1e300, 1]]), "row 1 of 2 is not finite"),
    "one has no direction": (answer([[0, 0], [1, 1]]), "row 0 of 2 is all zeros"),
    "one is wider": (answer([[1, 2], [1, 2, 3]]), r"different widths, \[2, 3\]"),
    "one is missing": (answer([[1, 2]]), "1 embeddings for 2 inputs"),
    "one is too many": (answer([[1, 2]] * 3), "3 embeddings for 2 inputs"),
    "one comes twice": (
        answer([], data=[answer([[1, 2]])["data"][0]] * 2),
        "gives each embedding the index 0",
    ),
    "one is beyond all floats": (answer([[1, 2], [10**400, 1]]), "not lists of numbers"),
    "they are packed": (answer(["AACAPw==", "AACAPw=="]), "not lists of numbers"),
    "they are lists of lists": (
        answer([[[1, 2]] * 2, [[3, 4]] * 2]),
        "several embeddings an input",
    ),
    "all have one index": (
        {"data": [{"embedding": [1, 2], "index": 0}, {"embedding": [3, 4], "index": 0}]},
        "it gives each embedding the index 0",
    ),
    "some have an index": (
        {"data": [{"embedding": [1, 2], "index": 0}, {"embedding": [3, 4]}]},
        "not in the OpenAI form",
    ),
    "they are empty": (answer([[], []]), "is all zeros"),
    "there are none": ({"object": "list"}, "not in the OpenAI form"),
    "it is a list": ([1, 2], "not in the OpenAI form"),
    "it is nothing": ("null", "not in the OpenAI form"),
    "it is a page": ("<html>Welcome</html>", r"else than JSON \('<html>Welcome</html>'\)"),
}


@pytest.mark.parametrize("case", ODD)
def test_an_answer_that_cannot_be_used_is_one_sentence_and_not_paid_again(service, pauses, case):
    value, message = ODD[case]
    service.says(value)
    with pytest.raises(HoldfastError, match=message):
        service.teacher().embed_text(["a", "b"])
    assert len(service.requests) == 1 and not pauses


def test_another_width_than_before_is_one_sentence(service):
    teacher = service.teacher()
    teacher.embed_text(["a"])
    service.says(answer([[1, 2]]))
    with pytest.raises(HoldfastError, match=r"different widths, \[2, 3\]; .* 'clip' embeds images"):
        teacher.embed_text(["a"])


@pytest.mark.parametrize(
    ("status", "said", "message"),
    [
        (401, {"detail": "Unauthorized: sk-secret"}, r"401: Unauthorized: \*\*\*; set OPENAI_API_"),
        (404, {"detail": "Not Found"}, "404: Not Found; check the address"),
        (400, {"error": {"message": "too small\nto see"}}, "400: too small to see; check"),
        (422, {"detail": [{"msg": "at most 32 items", "loc": []}]}, "422: at most 32 .*batch"),
        (413, "", "413: .*; lower the batch"),
        (302, "", "302: Found; check the address"),
        (400, "word " * 500, r"400: (word ){40}\.\.\.; check"),
    ],
)
def test_a_service_that_refuses_is_asked_once(service, pauses, status, said, message):
    service.says(said, status=status, Location=f"{service.url}/elsewhere")
    with pytest.raises(HoldfastError, match=message) as caught:
        service.teacher().embed_text(["a"])
    assert "sk-secret" not in str(caught.value)
    assert len(service.requests) == 1 and not pauses


def test_the_model_is_the_only_one_or_the_one_named(service):
    assert service.teacher(model=None).model == "clip"
    with pytest.raises(UsageError, match=r"no model 'clap' \(did you mean clip\?\); it has clip\."):
        assert service.teacher(model="clap").identity
    service.models = [ENTRY, {**ENTRY, "id": "siglip"}]
    assert service.teacher(model="siglip").identity
    with pytest.raises(UsageError, match=r"has clip, siglip; .* name the model"):
        assert service.teacher(model=None).model
    service.says({"detail": "Not Found"}, status=404)
    assert service.teacher().identity == 'http {"model": "clip"}'
    service.says({"detail": "Not Found"}, status=404)
    with pytest.raises(UsageError, match="lists no models; check the address"):
        assert service.teacher(model=None).model


def test_identity_is_what_the_service_tells_of_the_weights(service):
    identity = service.teacher().identity
    assert identity == 'http {"backend": "torch", "model": "clip"}'
    later = {**ENTRY, "created": 1, "stats": {}, "capabilities": ["embed", "image_embed"]}
    service.models = [later]
    assert service.teacher().identity == identity
    service.models = [{**later, "revision": "2"}]
    assert service.teacher().identity != identity


def test_a_named_revision_needs_no_running_service(service):
    teacher = service.teacher(revision="2024-06", logit_scale=30.0)
    assert teacher.identity == 'http {"given": "2024-06", "model": "clip"}'
    assert teacher.logit_scale == 30.0 and teacher.model == "clip"
    assert not service.requests


def test_logit_scale_is_the_services_or_clips(service):
    assert service.teacher().logit_scale == 100.0
    service.models = [{**ENTRY, "logit_scale": 12.5}]
    assert service.teacher().logit_scale == 12.5
    service.models = [{**ENTRY, "logit_scale": "large"}]
    assert service.teacher().logit_scale == 100.0


@pytest.mark.parametrize("address", ["http://", "http:///v1", "http://host:port/v1"])
def test_an_address_that_is_none_is_one_sentence(address, pauses):
    with pytest.raises(UsageError, match="is no address of a service"):
        open_teacher(TeacherSettings(address, model="m")).embed_text(["a"])


def test_a_key_that_cannot_be_sent_is_one_sentence(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk secret")
    with pytest.raises(UsageError, match="OPENAI_API_KEY holds a space") as caught:
        open_teacher(TeacherSettings("http://127.0.0.1:9", model="m"))
    assert "secret" not in str(caught.value)
