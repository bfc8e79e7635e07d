import json
import logging
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from holdfast import prompts
from holdfast.errors import HoldfastError, UsageError
from holdfast.names import from_names
from holdfast.prompts import DATASET_TEMPLATES, expand_templates, prompts_for
from holdfast.settings import PromptSettings

CLASSES = from_names(["apple", "F-16A/B", "red fox"])


def test_default_is_the_papers_template_kept_literally():
    assert prompts_for(CLASSES, PromptSettings()) == [
        ["a photo of a apple."],
        ["a photo of a F-16A/B."],
        ["a photo of a red fox."],
    ]


def test_braces_in_a_name_stay():
    classes = from_names(["{}", "{0}"])
    assert prompts_for(classes, PromptSettings())[0] == ["a photo of a {}."]


def test_named_lists():
    assert len(expand_templates(["simple"])) == 7
    imagenet = expand_templates(["imagenet", "a {}"])
    assert len(imagenet) == 81
    assert imagenet[0] == "a bad photo of a {}."
    assert expand_templates("dtd") == list(DATASET_TEMPLATES["textures"])
    assert all(t.count("{}") == 1 for ts in DATASET_TEMPLATES.values() for t in ts)


@pytest.mark.parametrize("template", ["a photo", "{} and {}", "{name}", "imagenett"])
def test_template_needs_one_place_for_the_name(template):
    with pytest.raises(UsageError, match="once, where the class name goes"):
        prompts_for(CLASSES, PromptSettings(templates=[template]))
    with pytest.raises(UsageError, match="did you mean imagenet"):
        expand_templates(["imagenett"])
    with pytest.raises(UsageError, match="no prompt template"):
        expand_templates([])


def test_named_lists_import_nothing_heavy():
    code = (
        "import sys; from holdfast.prompts import expand_templates; expand_templates(['imagenet']);"
        "assert not {'torch', 'open_clip', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_descriptions_replace_templates_by_name(tmp_path, caplog):
    path = tmp_path / "cupl.json"
    path.write_text(json.dumps({"Red_Fox": ["A fox. ", "It is red."], "aple": ["A fruit."]}))
    with caplog.at_level(logging.WARNING):
        result = prompts_for(CLASSES, PromptSettings(descriptions=path))
    assert result[0] == ["a photo of a apple."]
    assert result[2] == ["A fox.", "It is red."]
    assert "'aple' (did you mean apple?)" in caplog.text


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"apple": "one"}', '{"apple": []}', '{"pear": ["x"]}']
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
    monkeypatch.setattr(prompts, "PAUSES", (0.0, 0.0, 0.0))
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
    monkeypatch.setattr(prompts, "PAUSES", (0.0,))
    settings = PromptSettings(llm_url="http://user:pw@127.0.0.1:9/v1", llm_model="m")
    with pytest.raises(HoldfastError, match=r"at http://127\.0\.0\.1:9/v1 .* no answer"):
        prompts_for(CLASSES, settings)
