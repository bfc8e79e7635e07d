"""What a service refuses before it works; `test_server.py` asks a real one."""

import io

import pytest
from PIL import Image
from starlette.requests import Request

from holdfast.teachers.guard import LOOPBACK, is_stranger, pixels_of


def request(**headers):
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw})


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"host": "127.0.0.1:7997"}, False),
        ({"host": "[::1]:7997"}, False),
        ({"host": "[::1]"}, False),
        ({"host": "evil.example:7997"}, True),
        ({"host": ""}, True),
        ({}, True),
        ({"host": "localhost", "origin": "http://localhost"}, False),
        ({"host": "localhost", "origin": "http://localhost:1"}, True),
    ],
)
def test_strangers_call_by_another_name_or_come_from_another_page(headers, expected):
    assert is_stranger(request(**headers), LOOPBACK) is expected
    assert not is_stranger(request(host="any"), ())


def test_pixels_are_read_from_the_head():
    buffer = io.BytesIO()
    Image.new("1", (30, 20)).save(buffer, "PNG")
    assert pixels_of(buffer.getvalue()) == 600
    assert pixels_of(b"%!PS-Adobe-3.0 EPSF-3.0") == pixels_of(b"") == 0
