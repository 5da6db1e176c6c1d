"""The pages: HTML for people over the same supervisor and store as the API, which they never import."""

from fastapi import APIRouter

from app.pages import (
    activity,
    docs,
    jump,
    launch,
    log,
    login,
    operations,
    process,
    processes,
    stream,
    targets,
    theme,
    timeline,
    views,
)

router = APIRouter(include_in_schema=False)
for _module in (
    processes,
    operations,
    views,
    process,
    log,
    activity,
    timeline,
    targets,
    launch,
    login,
    theme,
    docs,
    stream,
    jump,
):
    router.include_router(_module.router)
