"""The bodies of answers.

Text of targets (results, errors, names, paths) may hold half a surrogate pair, which UTF-8 does not have: it is sent as
its escape, and never makes an answer fail.
"""

from typing import Any

from starlette.responses import HTMLResponse, JSONResponse

from procdeck.protocol import dump_json


class JSONAnswer(JSONResponse):
    """A value as compact JSON."""

    def render(self, content: Any) -> bytes:
        """Called by Starlette."""
        return dump_json(content)


class HTMLAnswer(HTMLResponse):
    """A page."""

    def render(self, content: Any) -> bytes:
        """Called by Starlette."""
        return bytes(content.encode(errors="backslashreplace"))
