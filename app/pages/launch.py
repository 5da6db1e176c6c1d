"""Pages: the launch form, typed from the target's signature, with what was launched before and what was saved."""

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from app.db.saved import Preset, Saved
from app.db.store import Filter, Store
from app.deps import ActorDep, Parts, PartsDep
from app.errors import AppError, Conflict, Invalid, NotFound
from app.lifecycle import Process
from app.pages import forms, words
from app.pages.forms import Typed
from app.pages.render import page, process_url, redirect
from app.pages.targets import find, launchable, matching
from app.presentation import view
from app.supervisor import presets
from app.supervisor.launches import Launch
from app.supervisor.supervisor import Supervisor

router = APIRouter(include_in_schema=False)

RECENT = 10
"""Different inputs that are offered again."""
LOOKED_AT = 50
"""Processes among which they are looked for."""
MAX_CALL = 160
NOT_TYPED = ("target", "key", "do", "origin_id", "preset_name")
"""What the form sends beside what was typed into it."""

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Form:
    """What the page of a form shows beside the target: what is typed, and what there is to say of it."""

    typed: Mapping[str, str]
    errors: Mapping[str, str]
    notes: Sequence[str] = ()
    status: int = 200
    preset: Preset | None = None
    is_edited: bool = False
    """Whether there is something to lose by leaving."""


# --- showing it --------------------------------------------------------------------------------------------------


@router.get("/launch")
async def show_form(request: Request, parts: PartsDep) -> Response:
    """The form: empty, or with what an earlier process was launched with, a preset, or what the link itself says;
    without a target, a choice of targets."""
    query = request.query_params
    supervisor = parts.supervisor
    try:
        origin = await supervisor.get(query["from"]) if query.get("from") else None
        preset = await _preset(parts.saved, query["preset"]) if query.get("preset") else None
    except NotFound as error:
        return _missing_source(request, supervisor, error.detail, query.get("target", ""))
    name = query.get("target") or (preset.target if preset else origin.target if origin else "")
    if not name:
        return _choose(request, supervisor, query.get("q", ""))
    entry = _entry(supervisor, name)
    # Not here, where all others would wait: it may be long.
    form = await run_in_threadpool(_prefilled, entry, origin, preset, query)
    return await _form_page(request, parts, entry, form)


def _prefilled(entry: JSON, origin: Process | None, preset: Preset | None, query: Mapping[str, str]) -> _Form:
    parameters: JSON = entry["parameters"]
    typed: dict[str, str] = dict(forms.FRESH)
    notes: list[str] = []
    if origin is not None:
        given, lost = forms.typed_of(parameters, origin.spec["args"], origin.spec["kwargs"])
        typed = forms.typed_options(origin.spec, origin.number) | given | {"origin_id": origin.id}
        notes += _lost(f"{origin.name} was launched with", lost)
    if preset is not None:
        _, lost = forms.prefilled(parameters, preset.typed)
        typed = {**typed, **preset.typed}
        notes += _lost(f"The preset {preset.name} has", lost)
    linked, lost = forms.prefilled(parameters, query)
    if lost:
        notes.append(f"The link has {', '.join(dict.fromkeys(lost))}, which the target does not take.")
    typed |= linked | {option: query[option] for option in forms.OPTIONS if option in query}
    return _Form(typed, _errors_of_link(entry, typed, linked), notes, preset=preset)


def _missing_source(request: Request, supervisor: Supervisor, sentence: str, target: str) -> Response:
    """What the form was to be filled from is gone; the empty form is still to be had."""
    entry = supervisor.catalogue.get(target)
    known = target if entry is not None and not entry.get("error") else ""
    return page(request, "launch/missing.html", status=404, sentence=sentence, target=known)


def _lost(who: str, names: Sequence[str]) -> list[str]:
    return [f"{who} {', '.join(dict.fromkeys(names))}, which the target no longer has."] if names else []


def _errors_of_link(entry: JSON, typed: Typed, linked: Typed) -> dict[str, str]:
    """What is wrong with the fields that a link fills; of the others nothing is said before a launch."""
    if not linked:
        return {}
    _, errors = forms.launch_of(entry["name"], entry["parameters"], typed)
    names = {key.partition("-")[2].partition(".")[0] for key in linked}
    return {name: message for name, message in errors.items() if name.partition(".")[0] in names}


async def _preset(saved: Saved, preset_id: str) -> Preset:
    preset = await run_in_threadpool(saved.preset, preset_id)
    if preset is None:
        raise NotFound("There is no such preset: it was deleted, or saved anew under its name.")
    return preset


def _choose(request: Request, supervisor: Supervisor, q: str) -> Response:
    targets = launchable(supervisor)
    found = matching(targets, q)
    return page(
        request,
        "launch/choose.html",
        targets=found,
        total=len(targets),
        q=q,
        not_ready=supervisor.engine.environments_not_ready(),
        json_url="/api/v1/targets",
    )


def _entry(supervisor: Supervisor, name: str) -> JSON:
    entry = find(supervisor, name)
    if entry.get("error"):
        raise Conflict(f"The target {name!r} can't be launched: {entry['error']}")
    return entry


# --- what its buttons do -----------------------------------------------------------------------------------------


@router.post("/launch")
async def launch(request: Request, parts: PartsDep, actor: ActorDep) -> Response:
    """Launch what was typed, or show it again: with what is wrong, with one row more, as a preset ..."""
    form = await request.form()
    typed = {name: value for name, value in form.items() if isinstance(value, str)}
    entry = _entry(parts.supervisor, typed.get("target", ""))
    if typed.get("origin_id"):
        await parts.supervisor.get(typed["origin_id"])
    action = typed.get("do", "launch")
    if action == "enter":  # the Enter key, in whatever input
        action = "save-preset" if typed.get("preset_name", "").strip() else "launch"
    if action == "save-preset":
        return await _save_preset(request, parts, entry, typed, actor)
    if action.startswith("delete-preset-"):
        return await _delete_preset(request, parts, entry, typed, actor)
    if (change := await run_in_threadpool(forms.changed, entry["parameters"], typed, action)) is not None:
        return await _form_page(request, parts, entry, _Form(*change, is_edited=True))
    wanted, errors = await run_in_threadpool(forms.launch_of, entry["name"], entry["parameters"], typed)
    if action == "preview":
        return await _form_page(request, parts, entry, _Form(typed, errors, is_edited=True))
    if errors:
        return await _form_page(request, parts, entry, _refused(typed, errors))
    return await _launch(request, parts, entry, typed, wanted, actor)


async def _launch(
    request: Request, parts: Parts, entry: JSON, typed: dict[str, str], wanted: Launch, actor: str
) -> Response:
    try:
        process, is_new = await parts.supervisor.create(wanted, actor, typed.get("key") or None)
    except Invalid as error:
        if any(wrong["field"] == "Idempotency-Key" for wrong in error.errors):
            note = "This form has launched a process already, with other values. Launch again to launch one more."
            return await _form_page(request, parts, entry, _refused(typed | {"key": ""}, {}, note))
        at, others = forms.placed(entry["parameters"], error.errors, typed)
        notes = others or ([] if at else [error.detail])
        return await _form_page(request, parts, entry, _refused(typed, at, *notes))
    except AppError as error:
        refused = replace(_refused(typed, {}, error.detail), status=error.status)
        return await _form_page(request, parts, entry, refused)
    said = "was launched" if wanted.start else "was created; Start starts it"
    return redirect(request, process_url(process.id), f"{process.name} {said}." if is_new else "")


def _refused(typed: Typed, errors: Mapping[str, str], *notes: str) -> _Form:
    return _Form(typed, errors, notes, status=422, is_edited=True)


async def _save_preset(request: Request, parts: Parts, entry: JSON, typed: dict[str, str], actor: str) -> Response:
    kept = {name: text for name, text in typed.items() if name not in NOT_TYPED and text != ""}
    kept |= {name: "" for name, text in typed.items() if name.startswith("arg-") and text == ""}
    kept = forms.without_secrets(entry["parameters"], kept)
    try:
        name = typed.get("preset_name", "")
        preset = await presets.save(parts.saved, parts.supervisor.activity, entry["name"], name, kept, actor)
    except Invalid as error:
        named = {forms.option_key("preset"): wrong["message"] for wrong in error.errors}
        return await _form_page(request, parts, entry, _refused(typed, named))
    return redirect(request, f"/launch?preset={preset.id}", f"Saved as the preset {preset.name}.")


async def _delete_preset(request: Request, parts: Parts, entry: JSON, typed: dict[str, str], actor: str) -> Response:
    # One that somebody else deleted meanwhile is gone all the same.
    with suppress(NotFound):
        preset_id = typed["do"].removeprefix("delete-preset-")
        await presets.delete(parts.saved, parts.supervisor.activity, preset_id, actor)
    return await _form_page(request, parts, entry, _Form(typed, {}, is_edited=True))


# --- the page ----------------------------------------------------------------------------------------------------


async def _form_page(request: Request, parts: Parts, entry: JSON, form: _Form) -> Response:
    return await run_in_threadpool(_made_page, request, parts, entry, form)


def _made_page(request: Request, parts: Parts, entry: JSON, form: _Form) -> Response:
    """Blocks: it asks the store and the disk, and writes out whatever was typed."""
    parameters, typed = entry["parameters"], form.typed
    given, _ = forms.launch_of(entry["name"], parameters, typed)
    args, kwargs = forms.veiled(parameters, given.args, given.kwargs)
    shown, is_cut = forms.shortened(replace(given, args=args, kwargs=kwargs))
    query = forms.link_query(entry["name"], parameters, typed)
    address = (parts.settings.url, parts.settings.data_dir / "token")
    return page(
        request,
        "launch/form.html",
        status=form.status,
        target=entry,
        inputs=forms.inputs(forms.fields(parameters), typed, form.errors),
        typed=typed,
        errors=form.errors,
        notes=form.notes,
        is_edited=form.is_edited,
        # It makes one process of a form that is sent twice.
        key=typed.get("key") or f"form-{secrets.token_urlsafe(16)}",
        options=forms,
        opens_more=any(forms.option_key(name) in form.errors for name in forms.OPTIONS) or _has_more(typed),
        zone=datetime.now().astimezone().isoformat()[-len("+00:00") :],
        codes=[
            ("curl", "curl", forms.curl(shown, *address)),
            ("httpx", "Python, over the API", forms.httpx_code(shown, *address)),
            ("python", "Python, the plain call", forms.python(shown, entry)),
        ],
        call=_call(shown),
        has_secrets=(args, kwargs) != (given.args, given.kwargs),
        is_cut=is_cut,
        missing=_missing(entry, given),
        link=f"{_origin(request, parts)}/launch?{query}" if query else None,
        recent=_recent(parts.store, parts.supervisor, entry["name"]),
        presets=parts.saved.presets(entry["name"]),
        preset=form.preset,
        json_url=f"/api/v1/targets/{entry['name']}",
    )


def _origin(request: Request, parts: Parts) -> str:
    """The address under which this browser knows the service, without a path."""
    scheme = "https" if parts.settings.cookie_secure else request.url.scheme
    return f"{scheme}://{request.url.netloc}"


def _has_more(typed: Typed) -> bool:
    """Whether something is set among what is folded away."""
    plain: dict[str, Any] = dict(forms.FRESH)
    return any(typed.get(name, "") not in ("", plain.get(name, "")) for name in forms.OPTIONS if name != "start")


def _recent(store: Store, supervisor: Supervisor, target: str) -> list[JSON]:
    """The last processes of a target that had different arguments; the newest of each. Blocks."""
    processes, _ = store.page(Filter(target=target), LOOKED_AT)
    found: dict[str, Process] = {}
    for process in processes:
        found.setdefault(json.dumps([process.spec["args"], process.spec["kwargs"]]), process)
    parameters = (supervisor.catalogue.get(target) or {}).get("parameters", {})
    shown = []
    for process in list(found.values())[:RECENT]:
        told = view(process)
        args, kwargs = forms.veiled(parameters, told["args"], told["kwargs"])
        shown.append(told | {"inputs": words.call({"target": "", "args": args, "kwargs": kwargs}, MAX_CALL)})
    return shown


def _missing(entry: JSON, given: Launch) -> dict[str, str]:
    """Absolute paths among the arguments that do not exist on this machine, by the names of their fields. Blocks."""
    names = [one.name for one in forms.fields(entry["parameters"]) if one.format == "path"]
    paths = {name: given.kwargs[name] for name in names if isinstance(given.kwargs.get(name), str)}
    return {name: path for name, path in paths.items() if path.startswith("/") and not os.path.lexists(path)}


def _call(launch: Launch) -> str:
    return words.call({"target": launch.target, "args": launch.args, "kwargs": launch.kwargs})
