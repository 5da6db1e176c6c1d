"""Makes the screenshots beside this file: `.venv/bin/python -m docs.screenshots.make` from the repository's root.

A real service with the bundled examples, some processes, and headless Chromium.
"""

import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.service import Service
from tests.waiting import wait_until

HERE = Path(__file__).parent
CHROMIUM = "/usr/bin/chromium"


def main() -> None:
    """Write process.png and processes.png."""
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder))
        try:
            service.start()
            running = launch_some(service)
            shoot(service, running)
        finally:
            service.close()


def launch_some(service: Service) -> str:
    """Processes of several outcomes; the id of one that runs and talks."""
    for target in ("basics:worker", "exit_codes:raises", "exit_codes:exit_error", "names:worker"):
        service.launch(target, *([3] if target == "basics:worker" else []))
    service.join(service.launch("batch:checksums", "/usr/share/doc", kwargs={"algorithm": "blake2b"}))
    service.post(service.launch("basics:slow_worker"), "terminate", reason="no longer needed")
    talking = service.launch("heartbeat:heartbeat", kwargs={"interval": 0.1})
    wait_until(lambda: "beat 14" in service.log(talking), 30, "the heartbeat does not beat")
    return str(talking["id"])


def shoot(service: Service, process_id: str) -> None:
    """Sign in by the link, as a person does, and take the pictures."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-background-networking", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_context(viewport={"width": 1180, "height": 700}, color_scheme="light").new_page()
        page.goto(service.login_link)
        page.wait_for_url("**/processes*")
        picture(page, f"{service.url}/processes/{process_id}", "process")
        picture(page, f"{service.url}/processes", "processes")
        browser.close()


def picture(page: Page, url: str, name: str) -> None:
    """Open a page, wait until it is live, and write its picture."""
    page.goto(url)
    page.get_by_text("Live", exact=True).wait_for()
    page.wait_for_timeout(1500)  # for the log to have moved; nothing depends on how far
    page.screenshot(path=HERE / f"{name}.png")


if __name__ == "__main__":
    main()
