"""What can be said of a process whose page is asked for, and that is not in the record any more."""

from app import activity_view
from app.db.activity import deletions_of_many, last_note_of, prunings
from app.db.store import Store
from app.errors import AppError


def why(store: Store, process_id: str) -> str:
    """Who deleted it, in a sentence; empty when that is not known. Blocks."""
    created_at = activity_view.created_at(process_id)
    if created_at is None:
        return ""
    try:
        together = [*deletions_of_many(store, created_at), *prunings(store, created_at)]
        return activity_view.gone(process_id, last_note_of(store, process_id), together)
    except AppError:  # that there is no such process holds without it
        return ""
