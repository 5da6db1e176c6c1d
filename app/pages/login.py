"""Pages: signing in and out, and the documents of the API."""

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from app.deps import AuthDep, IdentityDep, SupervisorDep
from app.errors import AppError, TooManyRequests, Unauthorized, Unavailable
from app.pages.render import page, redirect
from app.security.auth import OPERATOR, safe_next

router = APIRouter(include_in_schema=False)

# The address holds the code of a login link: at most the origin may be told, even to ourselves.
_HEADERS = {"Referrer-Policy": "strict-origin"}


@router.get("/login")
async def show_login(request: Request, identity: IdentityDep) -> Response:
    """The login page; a browser that is signed in is sent on.

    The session's cookie is SameSite=Strict: a browser that comes by a link on another site does not send it, and lands
    here although it is signed in. Our script then asks from this page, which is of the same site, by JSON.
    """
    if "application/json" in request.headers.get("accept", ""):
        return JSONResponse({"signed_in": identity is not None})
    if identity is not None:
        return RedirectResponse(safe_next(request.query_params.get("next")), 303, _HEADERS)
    return _login_page(request, request.query_params.get("code", ""), request.query_params.get("next"))


@router.post("/login")
async def log_in(request: Request, auth: AuthDep, supervisor: SupervisorDep) -> Response:
    """Exchange a login code or the token for a session, then go where the browser was headed."""
    form = await request.form()
    code, token, wanted = (str(form.get(name, "")).strip() for name in ("code", "token", "next"))
    address = request.client.host if request.client else ""
    try:
        session_id = await auth.log_in(code or token, address)
    except (Unauthorized, TooManyRequests, Unavailable) as error:
        if not isinstance(error, Unavailable):
            await supervisor.activity.sign_in_refused(address, error.detail)
        # A code that could not be used for no fault of its own is good for another try.
        return _login_page(request, code if isinstance(error, Unavailable) else "", wanted, error)
    await supervisor.activity.signed_in(OPERATOR, address)
    response = redirect(request, safe_next(wanted))
    response.headers.append("Set-Cookie", auth.session_cookie(session_id))
    return response


def _login_page(request: Request, code: str, wanted: str | None, error: AppError | None = None) -> Response:
    return page(
        request,
        "login/page.html",
        status=error.status if error else 200,
        # A challenge would have the browser ask for a password of its own.
        headers=_HEADERS
        | ({"Retry-After": error.headers["Retry-After"]} if isinstance(error, TooManyRequests | Unavailable) else {}),
        code=code,
        wanted=safe_next(wanted),
        error=error.detail if error else "",
    )


@router.post("/logout")
async def log_out(request: Request, auth: AuthDep, identity: IdentityDep, supervisor: SupervisorDep) -> Response:
    """End the session of this browser."""
    await auth.log_out(identity)
    await supervisor.activity.signed_out(identity.actor, request.client.host if request.client else "")
    response = redirect(request, "/login", "You are signed out.")
    response.headers.append("Set-Cookie", auth.expired_cookie())
    return response
