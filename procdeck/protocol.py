"""Messages between service, launcher and keeper: JSON objects, each behind its length.

A frame is four bytes of length (big endian) and as many bytes of UTF-8 JSON: an object whose ``type`` says what it is.
Nothing here touches a socket: `encode` gives bytes, `Decoder.feed` takes bytes.

A keeper lives as long as its process and so meets services of other releases, newer and older ones. The first message
of every connection carries its `VERSION`, which is raised when a message changes its meaning or the other side can no
longer do without a new one. What may be ignored is added without raising it: unknown fields and types of messages are
ignored on both sides, as are unknown fields of ``spec.json`` and of journal entries; an unknown event of a journal is a
note. So peers of the same version, or of versions one apart, `understand` each other. Those further apart do not talk:
the service reads the process's run folder, which tells all but measurements, and says that it can't command it. The
connection is kept, for its end would say that the service is gone. In no case is a process lost or ended over it.

=================== =================== ==========================================================================
direction           type                fields
=================== =================== ==========================================================================
launcher → service  ``hello``           version, pid, python
launcher → service  ``module``          entries: the targets of one module (see `procdeck.registry`)
launcher → service  ``ready``           files: source files whose change asks for a reload
service → launcher  ``launch``          spec: the launch, with folder and socket (see `procdeck.keeper`)
launcher → service  ``forked``          id, keeper_pid
launcher → service  ``not_forked``      id, error
launcher → service  ``keeper_exited``   id, keeper_pid, status
keeper → service    ``hello``           version, id, keeper_pid, pid, journal_seq, last_entry, log_end, progress,
                                        sample, condition
keeper → service    ``entry``           entry: one line of the journal, once it is on the disk; before that only when
                                        the disk does not take it, or it is one too many for it (`procdeck.run_folder`)
keeper → service    ``sample``          sample: cpu_percent, cpu_seconds, rss_bytes, max_rss_bytes, processes, threads,
                                        open_files, state
keeper → service    ``condition``       condition: paused, unkillable, returned, or null (see `procdeck.keeper`)
keeper → service    ``progress``        progress: fraction (0 to 1), message
keeper → service    ``log``             end: offset behind the last byte of the log
keeper → service    ``refused``         request, error: a command that could not be carried out
service → keeper    ``end``             request, action, actor, reason, grace, tree
service → keeper    ``signal``          request, signal, actor, reason, tree
service → keeper    ``watch``           on: whether ``log`` messages are wanted
=================== =================== ==========================================================================
"""

from __future__ import annotations

from json import JSONDecoder, JSONEncoder
from typing import Any

VERSION = 1
MAX_FRAME = 8 * 1024 * 1024
"""Bytes. The largest message is a catalogue entry list; everything else is bounded far below by its sender."""

Message = dict[str, Any]

# Made once: json.dumps() with options would make an encoder at each call.
_encode = JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_decode = JSONDecoder().decode


def dump_json(value: Any) -> bytes:
    """``value`` as compact JSON in UTF-8; a lone surrogate becomes its escape, which is JSON as well.

    Raises TypeError for what JSON can't hold, ValueError for NaN and infinity, RecursionError.
    """
    return _encode(value).encode(errors="backslashreplace")


def load_json(text: bytes) -> Any:
    """What a JSON text holds. Raises ValueError, RecursionError."""
    return _decode(text.decode())


def understands(version: object) -> bool:
    """Whether a peer of this version, as its first message has it, can be talked to."""
    return isinstance(version, int) and abs(version - VERSION) <= 1


class ProtocolError(ValueError):
    """The peer sent what is not a frame; the connection can't be used any further."""


def encode(type_: str, **fields: Any) -> bytes:
    """One frame. Raises ProtocolError when it would be longer than `MAX_FRAME`, ValueError for NaN or infinity."""
    body = dump_json({"type": type_, **fields})
    if len(body) > MAX_FRAME:
        raise ProtocolError(f"a message of {len(body)} bytes is longer than {MAX_FRAME}")
    return len(body).to_bytes(4, "big") + body


class Decoder:
    """Turns a stream of bytes into messages, whatever pieces it arrives in."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that ``data`` completes. Raises ProtocolError for an over-long or malformed frame."""
        buffer = self._buffer
        buffer += data
        messages = []
        while len(buffer) >= 4:
            size = int.from_bytes(buffer[:4], "big")
            if size > MAX_FRAME:
                raise ProtocolError(f"a frame of {size} bytes is longer than {MAX_FRAME}")
            if len(buffer) < 4 + size:
                break
            messages.append(_message(bytes(buffer[4 : 4 + size])))
            del buffer[: 4 + size]
        return messages


def _message(body: bytes) -> Message:
    try:
        message = load_json(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a frame is not JSON: {error}") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise ProtocolError("a frame is not an object with a type")
    return message
