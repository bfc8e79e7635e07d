"""One request and its answer, within a time and a size; `test_http.py` has whole conversations."""

import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from holdfast.teachers.exchange import NoAddress, NoReply, Reply, TooLong, exchange, retry_after


@pytest.fixture
def answering():
    """Starts a service that answers one request with bytes; its address."""

    def start(content, wait=0.0):
        server = socket.create_server(("127.0.0.1", 0))

        def run():
            connection, _ = server.accept()
            with connection:
                connection.recv(2**16)
                time.sleep(wait)
                connection.sendall(content)

        threading.Thread(target=run, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}/"

    return start


def ask(url, timeout=5.0, most=1000):
    return exchange("POST", url, {}, headers={}, timeout=timeout, most=most)


HEAD = b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\n"


def test_a_reply_is_its_status_its_wait_and_its_body(answering):
    assert ask(answering(HEAD + b"\xffabc")) == Reply(429, 7.0, b"\xffabc")
    assert Reply(200, 0.0, b"\xffabc").text == "\ufffdabc"


def test_what_is_no_whole_answer_says_whether_it_was_sent(answering):
    for content, wait in ((b"", 3.0), (b"", 0.0), (HEAD + b"a", 0.0), (b"nonsense", 0.0)):
        with pytest.raises(NoReply) as error:
            ask(answering(content, wait), timeout=1.0)
        assert error.value.sent
    with pytest.raises(NoReply, match="Connection refused") as error:
        ask("http://127.0.0.1:9/")
    assert not error.value.sent


def test_an_answer_that_is_too_long_is_not_taken(answering):
    with pytest.raises(TooLong):
        ask(answering(HEAD + b"abcd"), most=3)


@pytest.mark.parametrize("url", ["http://", "ftp://a/", "nothing"])
def test_an_address_that_is_none(url):
    with pytest.raises(NoAddress):
        ask(url)


def test_retry_after_is_seconds_or_a_date():
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 95 < retry_after(date) <= 100
    assert retry_after("1.5") == 1.5
    for header in ("", "soon", "-3", "nan", "inf", "Thu, 01 Jan 1970 00:00:00 GMT"):
        assert retry_after(header) == 0
