"""REST: who did what."""

from typing import Annotated, Literal

from fastapi import Query, Response
from fastapi.concurrency import run_in_threadpool

from app import activity_view
from app.answers import JSONAnswer
from app.api import make_router, problems
from app.api.schemas import ActivityPage
from app.db.activity import Group, entries
from app.deps import StoreDep

router = make_router("activity")

MAX_LIMIT = 500


@router.get("/activity", response_model=ActivityPage, responses=problems(422, 503))
async def list_activity(
    store: StoreDep,
    who: Annotated[
        Literal["people", "everybody"], Query(description="`everybody` has the service and the keepers as well.")
    ] = "people",
    verb: Annotated[
        Group | None, Query(description="One kind of deeds. Default: all but the steps of a start, `starts`.")
    ] = None,
    subject: Annotated[str, Query(max_length=activity_view.MAX_SEARCH, description="The id of a subject.")] = "",
    search: Annotated[
        str,
        Query(max_length=activity_view.MAX_SEARCH, description="Words that all occur in subject, actor or reason."),
    ] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 100,
    before: Annotated[
        int | None, Query(ge=0, lt=2**62, description="Only entries with lower numbers: `next` of the page before.")
    ] = None,
) -> Response:
    """What was asked of the service, by whom and with what result, and the changes of state; newest first.

    The changes of a process go with its record when that is deleted; that it was deleted stays.
    """
    wanted = activity_view.wanted(who, verb or "", subject, search)
    found = await run_in_threadpool(entries, store, wanted, limit, before)
    searched_to = found.searched_to.isoformat() if found.searched_to else None
    items = [activity_view.item(entry) for entry in found.items]
    return JSONAnswer({"items": items, "next": found.next, "searched_back_to": searched_to})
