"""Frames and messages."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procdeck.protocol import MAX_FRAME, Decoder, ProtocolError, encode

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
fields = st.dictionaries(st.text().filter(lambda name: name not in ("type", "type_")), values, max_size=4)


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


@given(st.lists(st.tuples(st.text(), fields), max_size=5), st.data())
def test_messages_come_out_as_they_went_in_whatever_pieces_they_come_in(
    messages: list[tuple[str, dict[str, Any]]], data: st.DataObject
) -> None:
    stream = b"".join(encode(kind, **more) for kind, more in messages)
    decoder, found = Decoder(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += decoder.feed(stream[:size])
        stream = stream[size:]
    assert found == [{"type": kind, **more} for kind, more in messages]


def test_a_byte_at_a_time() -> None:
    decoder = Decoder()
    stream = encode("one", a=1) + encode("two", b="é")
    assert [m for byte in stream for m in decoder.feed(bytes([byte]))] == [
        {"type": "one", "a": 1},
        {"type": "two", "b": "é"},
    ]


@pytest.mark.parametrize(
    "data",
    [
        frame(b"not json"),
        frame(b"[]"),
        frame(b"{}"),
        frame(b'{"type": 1}'),
        frame(b'"hello"'),
        frame(b"\xff\xfe"),
        frame(b""),
        frame(b"[" * 100_000),
        (MAX_FRAME + 1).to_bytes(4, "big"),
        b"\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n",
    ],
)
def test_what_is_not_a_frame_of_ours_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Decoder().feed(data)


@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_a_protocol_error(data: bytes) -> None:
    try:
        Decoder().feed(data)
    except ProtocolError:
        return


def test_unknown_fields_and_types_pass() -> None:
    assert Decoder().feed(encode("of the next version", news=[1])) == [{"type": "of the next version", "news": [1]}]


def test_what_the_other_side_could_not_read_is_not_sent() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        encode("sample", value=float("nan"))
    with pytest.raises(ProtocolError, match="is longer"):
        encode("module", text="x" * MAX_FRAME)


def test_the_longest_frame_passes() -> None:
    text = "x" * (MAX_FRAME - len(json.dumps({"type": "a", "text": ""}, separators=(",", ":"))))
    assert Decoder().feed(encode("a", text=text)) == [{"type": "a", "text": text}]
