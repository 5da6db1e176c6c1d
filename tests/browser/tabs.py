"""Browsers whose pages may not complain.

Every error that a page writes to its console fails the test; violations of the content security policy are among them.
"""

import re

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page

from tests.service import Service

PATIENCE = 10_000
"""Milliseconds after which a page that does not come to look as expected fails the test."""


class Tabs:
    """Opens browsers that are signed in, and listens to what their pages complain about."""

    def __init__(self, browser: Browser, service: Service, url: str | None = None) -> None:
        """``url`` is where the browser reaches the service, if it is not where that listens."""
        self._browser = browser
        self._service = service
        self._given_url = url
        self._contexts: list[BrowserContext] = []
        self._complaints: list[str] = []
        self._expected: list[str] = []

    @property
    def _url(self) -> str:
        return self._given_url or self._service.url

    def expect_complaint(self, pattern: str) -> None:
        """A complaint that is part of the test, such as that of a page with status 422."""
        self._expected.append(pattern)

    def open(
        self,
        path: str = "/processes",
        *,
        script: bool = True,
        width: int = 1280,
        dark: bool = False,
        sign_in: bool = True,
    ) -> Page:
        """A page in a browser of its own."""
        context = self._browser.new_context(
            base_url=self._url,
            java_script_enabled=script,
            viewport={"width": width, "height": 800},
            is_mobile=width < 500,
            color_scheme="dark" if dark else "light",
        )
        self._contexts.append(context)
        context.set_default_timeout(PATIENCE)
        if sign_in:
            self._sign_in(context)
        page = context.new_page()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self._complaints.append(str(error)))
        page.goto(path)
        return page

    def _sign_in(self, context: BrowserContext) -> None:
        answer = context.request.post(
            "/login", form={"token": self._service.token}, headers={"Origin": self._url}, max_redirects=0
        )
        assert answer.status == 303

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._complaints.append(f"{message.text} ({message.location.get('url', '')})")

    def close(self) -> None:
        """Close everything; fails when a page complained."""
        for context in self._contexts:
            context.close()
        unexpected = [text for text in self._complaints if not any(re.search(known, text) for known in self._expected)]
        assert not unexpected, "\n".join(unexpected)


# --- what stands on the page of a process ------------------------------------------------------------------------


def status(page: Page) -> Locator:
    """The word for where it is."""
    return page.locator(".banner .status")


def button(page: Page, name: str) -> Locator:
    """One of its buttons."""
    return page.locator(".actions").get_by_role("button", name=name, exact=True)
