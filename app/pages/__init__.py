"""The pages: HTML for people over the same supervisor and store as the API, which they never import."""

from fastapi import APIRouter

from app.pages import docs, launch, login, process, processes, targets

router = APIRouter(include_in_schema=False)
for _module in (processes, process, targets, launch, login, docs):
    router.include_router(_module.router)
