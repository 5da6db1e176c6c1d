"""Makes the screenshots beside this file: `.venv/bin/python -m docs.screenshots.make` from the repository's root.

A real service with the targets of jobs.py, a record of two weeks, some processes that run, and headless Chromium: each
page light and dark, wide and on a phone. ``PAGE-THEME-SIZE.png``.
"""

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.records import Kinds, fill
from tests.service import Service
from tests.waiting import wait_until

HERE = Path(__file__).parent
CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-background-networking", "--no-first-run"]
WIDE, PHONE = (1280, 800), (360, 740)
RECORDS = 3_000

_TODAY = datetime.now(UTC).date()
KINDS: Kinds = {
    "jobs:resize_images": (
        {"folder": ("/pictures/autumn", "/pictures/shoes", "/pictures/faces"), "width": (320, 640, 1280)},
        25.0,
        30,
    ),
    "jobs:import_orders": (
        {"day": [str(_TODAY - timedelta(days=back)) for back in range(14)], "source": ("warehouse", "shop", "legacy")},
        90.0,
        40,
    ),
    "jobs:train_model": ({"lr": (0.1, 0.01, 0.001), "epochs": (10, 20, 40)}, 1500.0, 6),
    "jobs:nightly_report": ({"recipients": (["anna@example.org"], ["board@example.org"])}, 12.0, 10),
}


def main() -> None:
    """Write all pictures."""
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder), [HERE / "jobs.py"])
        service.data_dir.mkdir(mode=0o700)
        fill(f"sqlite:///{service.data_dir / 'procdeck.db'}", RECORDS, KINDS, days=14)
        try:
            service.start()
            pages = dict(launch_some(service))
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
                for theme in ("light", "dark"):
                    for size, name in ((WIDE, "wide"), (PHONE, "phone")):
                        shoot(browser, service, pages, theme, size, name)
                browser.close()
        finally:
            service.close()


def launch_some(service: Service) -> Iterator[tuple[str, str]]:
    """Processes of several outcomes, some of which run; (name of a picture, path of its page)."""
    training = service.launch("jobs:train_model", kwargs={"lr": 0.01, "epochs": 40}, name="train-recommender")
    watching = [
        service.launch("jobs:watch_stock", warehouse, name=f"stock-{warehouse}") for warehouse in ("north", "south")
    ]
    failed = service.join(service.launch("jobs:import_orders", str(_TODAY), "legacy", name="orders-legacy"))
    service.join(service.launch("jobs:resize_images", "/pictures/autumn", labels={"season": "autumn"}))
    service.post(watching[1], "terminate", reason="the warehouse is closed")
    service.join(service.launch("jobs:nightly_report", ["anna@example.org"], name="report"))
    wait_until(lambda: "epoch 12" in service.log(training), 120, "the training does not go on")
    yield "processes", "/processes"
    yield "search", "/processes?search=target%3Ajobs%3Aimport_orders+outcome%3Afailed"
    yield "process", f"/processes/{training['id']}"
    yield "process-failed", f"/processes/{failed['id']}"
    yield "resources", f"/processes/{training['id']}?tab=resources"
    yield "details", f"/processes/{training['id']}?tab=details"
    yield "events", f"/processes/{watching[1]['id']}?tab=events"
    yield "bulk", "/operations/new?action=stop&all=1&search=is%3Aalive"
    yield "targets", "/targets"
    yield "target", "/targets/jobs:import_orders"
    yield "launch", "/launch?target=jobs:resize_images&arg-folder=/pictures/autumn"
    yield "timeline", "/timeline?range=24h"
    yield "activity", "/activity"
    yield "shortcuts", "/shortcuts"


def shoot(
    browser: Browser, service: Service, pages: dict[str, str], theme: str, size: tuple[int, int], name: str
) -> None:
    """All pages in one look; signed in by the token, as by the form."""
    context = browser.new_context(
        base_url=service.url,
        viewport={"width": size[0], "height": size[1]},
        is_mobile=size == PHONE,
        has_touch=size == PHONE,
        color_scheme="dark" if theme == "dark" else "light",
    )
    page = context.new_page()
    page.goto("/login")
    page.wait_for_timeout(500)
    page.screenshot(path=HERE / f"login-{theme}-{name}.png")
    context.request.post("/login", form={"token": service.token}, headers={"Origin": service.url}, max_redirects=0)
    for what, path in pages.items():
        picture(page, path, f"{what}-{theme}-{name}")
    context.close()


def picture(page: Page, path: str, name: str) -> None:
    """Open a page, wait until it has settled, and write its picture."""
    answer = page.goto(path)
    assert answer is not None
    assert answer.ok, f"{path} answers {answer.status}"
    page.wait_for_timeout(2000)  # for streams and charts; nothing depends on how far they are
    page.screenshot(path=HERE / f"{name}.png")


if __name__ == "__main__":
    main()
