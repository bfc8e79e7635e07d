"""Sentences from a file, and from a language model behind HTTP."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from holdfast.errors import HoldfastError, UsageError
from holdfast.names import from_names
from holdfast.prompts import descriptions, prompts_for
from holdfast.prompts.descriptions import read_descriptions
from holdfast.settings import PromptSettings

CLASSES = from_names(["apple", "F-16A/B", "red fox"])


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"apple": "one"}', '{"apple": []}', '{"pear": ["x"]}', '{"apple": ["\\ud83d x"]}'],
)
def test_unusable_descriptions(tmp_path, text):
    path = tmp_path / "cupl.json"
    path.write_text(text)
    with pytest.raises(HoldfastError, match=r"cupl\.json"):
        prompts_for(CLASSES, PromptSettings(descriptions=path))


class Service:
    """A language model behind HTTP: each request takes the next answer of a list."""

    def __init__(self):
        self.answers = []  # (status, body, headers)
        self.requests = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.requests.append((self.path, dict(self.headers), body))
                status, text, headers = service.answers.pop(0)
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def says(self, content, status=200, **headers):
        text = json.dumps({"choices": [{"message": {"content": content}}]})
        self.answers.append((status, text, headers))


@pytest.fixture
def service(monkeypatch):
    monkeypatch.setattr(descriptions, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    service = Service()
    yield service
    service.server.shutdown()
    service.server.server_close()


def settings_for(service, **changes):
    return PromptSettings(llm_url=service.url, llm_model="tiny", llm_count=2, **changes)


def test_language_model_is_asked_once_per_class(service, tmp_path):
    cache = tmp_path / "run" / "descriptions.json"
    service.says('```json\n["An apple on a table.", "A green apple hangs.", "A third apple."]\n```')
    service.says("Here are two sentences:\n1. A F-16A/B in the sky.\n2. Fast, grey and loud.")
    service.says("<think>[hm]</think>- The red fox runs.\n- The red fox runs.\n")
    expected = [
        ["An apple on a table.", "A green apple hangs."],
        ["A F-16A/B in the sky.", "a photo of a F-16A/B. Fast, grey and loud."],
        ["The red fox runs."],
    ]
    assert prompts_for(CLASSES, settings_for(service), cache) == expected
    assert len(service.requests) == 3
    path, headers, body = service.requests[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer sk-secret"
    assert body["model"] == "tiny"
    assert "apple" in body["messages"][0]["content"]
    assert prompts_for(CLASSES, settings_for(service), cache) == expected
    assert len(service.requests) == 3
    assert "sk-secret" not in cache.read_text()


@pytest.mark.parametrize(
    "content",
    [
        '[["An apple on a table.", "A green apple hangs."]]',
        '{"sentences": ["An apple on a table.", "A green apple hangs."]}',
        '[{"text": "An apple on a table."}, {"text": "A green apple hangs."}]',
        [{"type": "text", "text": "An apple on a table.\nA green apple hangs."}],
    ],
)
def test_answers_of_other_forms(service, content):
    service.says(content)
    service.says('["A cup of tea."]')
    found = prompts_for(from_names(["apple", "tea"]), settings_for(service))
    assert found[0] == ["An apple on a table.", "A green apple hangs."]


def test_a_key_from_a_file_ends_in_a_new_line(service, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", " sk-secret\r\n")
    service.says('["An apple on a table."]')
    service.says('["A cup of tea."]')
    prompts_for(from_names(["apple", "tea"]), settings_for(service))
    assert service.requests[0][1]["Authorization"] == "Bearer sk-secret"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-\u00e9")
    with pytest.raises(UsageError, match="that no key can have"):
        prompts_for(CLASSES, settings_for(service))


def test_an_answer_without_end_is_given_up(service, monkeypatch):
    monkeypatch.setattr(descriptions, "LONGEST", 1000)
    for _ in range(4):
        service.says("An apple on a table. " * 100)
    with pytest.raises(HoldfastError, match="its answer has more than 1,000 bytes"):
        prompts_for(CLASSES, settings_for(service))
    monkeypatch.setattr(descriptions, "TIMEOUT", -1.0)
    with pytest.raises(descriptions._AgainError, match="not whole within"):
        descriptions._received([b"a"])


def test_busy_service_is_tried_again_and_what_is_paid_for_is_kept(service, tmp_path):
    cache = tmp_path / "descriptions.json"
    service.says("", status=429)
    service.says('["An apple on a ta')
    service.says('["An apple on a table."]')
    for _ in range(4):
        service.says("", status=503)
    with pytest.raises(HoldfastError, match="did not describe 'F-16A/B': HTTP status 503"):
        prompts_for(CLASSES, settings_for(service), cache)
    assert len(service.requests) == 7
    service.says('["A F-16A/B in the sky."]')
    service.says('["The red fox runs."]')
    result = prompts_for(CLASSES, settings_for(service), cache)
    assert result[0] == ["An apple on a table."]
    assert len(service.requests) == 9


def test_key_is_never_shown_nor_sent_elsewhere(service):
    service.answers.append((401, "Incorrect API key: sk-secret", {}))
    with pytest.raises(HoldfastError, match=r"Incorrect API key: \*\*\*") as caught:
        prompts_for(CLASSES, settings_for(service))
    assert "sk-secret" not in str(caught.value)
    service.says("", status=302, Location=f"{service.url}/elsewhere")
    with pytest.raises(HoldfastError, match="HTTP status 302"):
        prompts_for(CLASSES, settings_for(service))
    assert len(service.requests) == 2


def test_descriptions_file_comes_before_the_model(service, tmp_path):
    path = tmp_path / "cupl.json"
    path.write_text(json.dumps({"apple": ["Mine."], "F-16A/B": ["Mine."]}))
    service.says('["The red fox runs."]')
    result = prompts_for(CLASSES, settings_for(service, descriptions=path))
    assert result == [["Mine."], ["Mine."], ["The red fox runs."]]


def test_language_model_needs_a_name_and_a_web_address(tmp_path):
    with pytest.raises(UsageError, match="llm_model"):
        prompts_for(CLASSES, PromptSettings(llm_url="http://localhost:1"))
    with pytest.raises(UsageError, match="http://"):
        prompts_for(CLASSES, PromptSettings(llm_url="file:///etc/passwd", llm_model="m"))
    cache = tmp_path / "descriptions.json"
    cache.write_text("[1]")
    with pytest.raises(UsageError, match="no file of saved descriptions"):
        prompts_for(CLASSES, PromptSettings(llm_url="http://localhost:1", llm_model="m"), cache)


def test_silent_service(monkeypatch):
    monkeypatch.setattr(descriptions, "PAUSES", (0.0,))
    settings = PromptSettings(llm_url="http://user:pw@127.0.0.1:9/v1", llm_model="m")
    with pytest.raises(HoldfastError, match=r"at http://127\.0\.0\.1:9/v1 .* no answer"):
        prompts_for(CLASSES, settings)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_may_begin_with_a_mark(tmp_path, encoding):
    (tmp_path / "a.json").write_text(
        '{"apple": ["Round.\tRed \\ud83c\\udf4e."]}', encoding=encoding
    )
    assert read_descriptions(tmp_path / "a.json", CLASSES) == {0: ["Round.\tRed \U0001f34e."]}


def test_a_file_describes_classes_by_their_names(tmp_path):
    path = tmp_path / "cupl.json"
    path.write_text(json.dumps({"Red_Fox": [" It runs. "], "apple": ["Round.", "Red."]}))
    assert read_descriptions(path, CLASSES) == {2: ["It runs."], 0: ["Round.", "Red."]}
