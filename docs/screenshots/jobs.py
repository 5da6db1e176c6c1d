"""What the screenshots show: a small shop's work, as it might be. Nothing of it does anything."""

import logging
import random
import sys
import time
from dataclasses import dataclass
from datetime import date
from typing import Literal

from procdeck import progress, target

log = logging.getLogger("shop")


@dataclass
class Crop:
    """What is kept of a picture."""

    left: int = 0
    top: int = 0
    square: bool = True


@target
def resize_images(
    folder: str, width: int = 640, format: Literal["webp", "jpeg", "png"] = "webp", crop: Crop | None = None
) -> dict[str, int]:
    """Resize all pictures of a folder, and say how many there were.

    `width` is in pixels; the height follows from it.
    """
    return _work(folder, 48, 0.02, lambda number: f"{folder}/{number:04d}.{format} {width} x {width * 3 // 4}")


@target
def import_orders(day: date, source: str = "warehouse", dry_run: bool = False) -> int:
    """Import the orders of one day."""
    _log_to_stderr()
    log.info("connecting to %s", source)
    for page in range(1, 24):
        time.sleep(0.01)
        log.info("page %d: %d orders", page, random.randrange(80, 120))
    if source == "legacy":
        log.warning("the answer took 9.8 s")
        raise ConnectionError(f"{source} closed the connection after page 23")
    return 2291


@target
def train_model(lr: float = 0.001, epochs: int = 20, note: str = "", pause: float = 0.25) -> float:
    """Train the model that recommends articles.

    Progress is told after each step; the loss goes to the log.
    """
    _log_to_stderr()
    loss = 2.4
    for epoch in range(1, epochs + 1):
        for step in range(1, 11):
            time.sleep(pause)
            sum(range(2_000_000))
            loss *= 0.994
            progress((epoch - 1 + step / 10) / epochs, f"epoch {epoch} of {epochs}, loss {loss:.3f}")
        print(f"\x1b[32mepoch {epoch:2d}\x1b[0m  loss \x1b[1m{loss:.4f}\x1b[0m  lr {lr:g}", flush=True)
        if epoch % 4 == 0:
            log.warning("validation loss is %.4f, more than in the epoch before", loss * 1.08)
    return loss


@target
def nightly_report(recipients: list[str], week: int | None = None) -> None:
    """Send last night's figures."""
    _log_to_stderr()
    for number in range(1, 30):
        log.info("table %d of 29 read", number)
        time.sleep(0.005)


@target
def watch_stock(warehouse: str = "north", every: float = 0.4) -> None:
    """Follow a warehouse until it is stopped."""
    _log_to_stderr()
    while True:
        print(f"{warehouse}: {random.randrange(3000, 3400)} articles in stock", flush=True)
        if random.random() < 0.08:
            log.error("shelf %d does not answer", random.randrange(1, 60))
        time.sleep(every)


def _work(name: str, steps: int, pause: float, line: object) -> dict[str, int]:
    assert callable(line)
    for number in range(1, steps + 1):
        print(line(number), flush=True)
        progress(number / steps, f"{number} of {steps}")
        time.sleep(pause)
    return {"pictures": steps}


def _log_to_stderr() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
