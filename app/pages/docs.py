"""The documents of the API: Swagger UI from our own files, and every kind of problem that clients can meet."""

import inspect

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.errors import problem_types
from app.pages.render import page

router = APIRouter(include_in_schema=False)

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Swagger UI writes style attributes of its own; scripts stay as strict as everywhere."""


@router.get("/docs")
async def show_docs(request: Request) -> Response:
    """What the API can do, to read and to try out, and what its problems mean."""
    return page(
        request,
        "docs/page.html",
        headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY},
        problems=[
            {"slug": kind.slug, "status": kind.status, "title": kind.title, "meaning": inspect.getdoc(kind)}
            for kind in problem_types()
        ],
        json_url="/openapi.json",
    )
