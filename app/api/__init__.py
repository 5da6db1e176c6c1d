"""The REST API, version 1, and what machines ask beside it."""

from typing import Any

from fastapi import APIRouter

from app.api.schemas import Problem
from app.errors import PROBLEM_JSON, StrictJSONRoute

PREFIX = "/api/v1"


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The declarations of these problem answers, for OpenAPI; those that the door gives on every path are added."""
    content = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    everywhere = (400, 401, 403, 413, 421, 500)
    return {status: {"description": _TITLES[status], "content": content} for status in sorted({*statuses, *everywhere})}


_TITLES = {
    400: "The request can't be read.",
    401: "Neither token nor session.",
    403: "The request came from a foreign page.",
    404: "There is no such thing.",
    409: "The present state does not allow it.",
    413: "The body is larger than 1 MiB.",
    415: "The body is not JSON.",
    421: "The Host is not one of this service's.",
    422: "Fields are wrong; `errors` names them.",
    500: "A fault of the service.",
    503: "Not possible at this moment; see Retry-After.",
}


def make_router(tag: str) -> APIRouter:
    """A router of the versioned API."""
    return APIRouter(prefix=PREFIX, tags=[tag], route_class=StrictJSONRoute)


__all__ = ["PREFIX", "Problem", "make_router", "problems"]
