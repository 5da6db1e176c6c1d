"""What answers are made of."""

import json

import pytest

from app import streams
from app.answers import HTMLAnswer, JSONAnswer

ODD = "caf\udce9 \N{GRINNING FACE}"
"""A name as Python reads it from a folder in another encoding."""


def test_half_a_surrogate_pair_is_sent_as_its_escape() -> None:
    body = bytes(JSONAnswer({"name": ODD, ODD: [ODD]}).body)
    assert body.startswith('{"name":"caf\\udce9 \N{GRINNING FACE}"'.encode())
    assert json.loads(body) == {"name": ODD, ODD: [ODD]}


def test_and_so_it_is_in_a_page_and_in_an_event() -> None:
    assert HTMLAnswer(f"<p>{ODD}").body == "<p>caf\\udce9 \N{GRINNING FACE}".encode()
    assert streams.event("process", json.dumps(ODD, ensure_ascii=False), 1).endswith(
        'data: "caf\\udce9 \N{GRINNING FACE}"\n\n'.encode()
    )


def test_what_json_does_not_have_is_a_fault() -> None:
    with pytest.raises(ValueError, match="JSON"):
        JSONAnswer(float("nan"))
