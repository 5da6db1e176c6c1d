"""Light or dark: chosen on every page, kept by the browser."""

from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from app.deps import SettingsDep
from app.errors import Invalid
from app.pages.render import LIVE, REFERRER_POLICY, THEME_COOKIE
from app.security.auth import safe_next

router = APIRouter(include_in_schema=False)

THEMES: Final = ("auto", "light", "dark")
KEPT_SECONDS: Final = 400 * 86_400
"""As long as browsers keep any cookie."""


@router.post("/theme")
async def choose_theme(request: Request, settings: SettingsDep) -> Response:
    """Choose ``light``, ``dark`` or, with ``auto``, what the system has; then back to the page. Raises Invalid."""
    form = await request.form()
    theme = str(form.get("theme", ""))
    if theme not in THEMES:
        detail = f"A theme is one of {', '.join(THEMES)}."
        raise Invalid(detail, errors=[{"field": "theme", "message": detail}])
    # Our script changes the page itself, and only has it remembered here.
    response: Response
    if LIVE in request.headers:
        response = Response(status_code=204)
    else:
        back = safe_next(str(form.get("next", "")))
        response = RedirectResponse(back, 303, {"Referrer-Policy": REFERRER_POLICY})
    if theme == "auto":
        response.delete_cookie(THEME_COOKIE, samesite="lax", secure=settings.cookie_secure, httponly=True)
    else:
        # Lax: nothing is lost to another site by it, and pages that one comes to from there have their colours.
        response.set_cookie(
            THEME_COOKIE,
            theme,
            max_age=KEPT_SECONDS,
            samesite="lax",
            secure=settings.cookie_secure,
            httponly=True,
        )
    return response
