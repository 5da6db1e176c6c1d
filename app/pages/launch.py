"""Pages: the launch form, typed from the target's signature."""

import secrets
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.deps import ActorDep, SettingsDep, SupervisorDep
from app.errors import AppError, Conflict, Invalid
from app.pages import forms, words
from app.pages.render import page, process_url, redirect
from app.pages.targets import find, launchable
from app.settings import Settings
from app.supervisor.launches import Launch
from app.supervisor.supervisor import Supervisor

router = APIRouter(include_in_schema=False)


@router.get("/launch")
async def show_form(request: Request, supervisor: SupervisorDep, settings: SettingsDep) -> Response:
    """The form, empty or with what an earlier process was launched with; without a target, a choice of targets."""
    query = request.query_params
    origin_id = query.get("from", "")
    origin = await supervisor.get(origin_id) if origin_id else None
    name = query.get("target") or (origin.target if origin else "")
    if not name:
        return page(
            request,
            "launch/choose.html",
            targets=launchable(supervisor),
            not_ready=supervisor.engine.environments_not_ready(),
            json_url="/api/v1/targets",
        )
    entry = _entry(supervisor, name)
    typed: dict[str, str] = dict(forms.FRESH)
    notes: list[str] = []
    if origin is not None:
        given, lost = forms.typed_of(entry["parameters"], origin.spec["args"], origin.spec["kwargs"])
        typed = forms.typed_options(origin.spec, origin.number) | given | {"origin_id": origin.id}
        notes = [f"{origin.name} was launched with {', '.join(lost)}, which the target no longer has."] if lost else []
    return _form_page(request, settings, entry, typed, {}, notes)


@router.post("/launch")
async def launch(request: Request, supervisor: SupervisorDep, settings: SettingsDep, actor: ActorDep) -> Response:
    """Launch what was typed; or show it again with what is wrong, or with the same launch for a shell."""
    form = await request.form()
    typed = {name: value for name, value in form.items() if isinstance(value, str)}
    entry = _entry(supervisor, typed.get("target", ""))
    if typed.get("origin_id"):
        await supervisor.get(typed["origin_id"])
    wanted, errors = forms.launch_of(entry["name"], entry["parameters"], typed)
    if typed.get("do") == "preview":
        return _form_page(request, settings, entry, typed, errors, [])
    if errors:
        return _form_page(request, settings, entry, typed, errors, [], status=422)
    try:
        process, is_new = await supervisor.create(wanted, actor, typed.get("key") or None)
    except Invalid as error:
        if any(wrong["field"] == "Idempotency-Key" for wrong in error.errors):
            note = "This form has launched a process already, with other values. Launch again to launch one more."
            return _form_page(request, settings, entry, typed | {"key": ""}, {}, [note], status=422)
        at, others = forms.placed(entry["parameters"], error.errors)
        return _form_page(request, settings, entry, typed, at, others or ([] if at else [error.detail]), status=422)
    except AppError as error:
        return _form_page(request, settings, entry, typed, {}, [error.detail], status=error.status)
    said = "was launched" if wanted.start else "was created; Start starts it"
    return redirect(request, process_url(process.id), f"{process.name} {said}." if is_new else "")


def _entry(supervisor: Supervisor, name: str) -> dict[str, Any]:
    entry = find(supervisor, name)
    if entry.get("error"):
        raise Conflict(f"The target {name!r} can't be launched: {entry['error']}")
    return entry


def _form_page(
    request: Request,
    settings: Settings,
    entry: dict[str, Any],
    typed: dict[str, str],
    errors: dict[str, str],
    notes: list[str],
    *,
    status: int = 200,
) -> Response:
    known = forms.fields(entry["parameters"])
    shown, _ = forms.launch_of(entry["name"], entry["parameters"], typed)
    return page(
        request,
        "launch/form.html",
        status=status,
        target=entry,
        inputs=forms.inputs(known, typed, errors),
        typed=typed,
        errors=errors,
        notes=notes,
        # It makes one process of a form that is sent twice.
        key=typed.get("key") or f"form-{secrets.token_urlsafe(16)}",
        options=forms,
        opens_more=any(forms.option_key(name) in errors for name in forms.OPTIONS),
        curl=forms.curl(shown, settings.url, settings.data_dir / "token"),
        call=_call(shown),
        json_url=f"/api/v1/targets/{entry['name']}",
    )


def _call(launch: Launch) -> str:
    return words.call({"target": launch.target, "args": launch.args, "kwargs": launch.kwargs})
