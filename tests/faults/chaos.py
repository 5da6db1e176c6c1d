"""Chaos: a service under load in which something is killed every moment, checked against what the children wrote.

``python -m tests.faults.chaos --seconds 600 --seed 7`` (or ``make chaos``). The seed decides what is done, the machine
how it interleaves. The children write down for themselves that they began, what they printed and how they ended, so
that what the service says is compared with what happened and not with its own word. It ends with exit code 0 and the
counts of all that was done when every invariant held, else with what did not.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from procdeck import posix
from procdeck.states import ACTIVE, FINAL
from tests.faults import invariants
from tests.service import Service
from tests.waiting import wait_until

TARGETS = Path(__file__).with_name("targets.py")
MOST_ALIVE = 40
CHECK_EVERY = 15.0
"""Seconds of chaos between two checks of all invariants."""
SETTLED = frozenset(FINAL)

JSON = dict[str, Any]


class Violation(Exception):
    """An invariant does not hold, seen while something was done."""


@dataclass
class Wanted:
    """A launch: what was asked for, what it wrote, what was done to it, and the id that was promised."""

    key: str
    truth: Path
    lines: int
    code: int
    deaf: bool
    family: bool
    id: str | None = None
    keeper_killed: bool = False
    child_killed: bool = False
    asked: bool = False
    verified: tuple[object, ...] | None = None


@dataclass
class Chaos:
    """One run: the service, the launches, and how often each thing was done."""

    service: Service
    dice: random.Random
    wanted: list[Wanted] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    descriptors: list[int] = field(default_factory=list)

    # --- doing ------------------------------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Do things at random for so long, checking in between and at the end. Raises AssertionError, Violation."""
        self.service.start()
        actions: list[tuple[Callable[[], None], int]] = [
            (self.launch, 40),
            (self.ask_for_an_end, 10),
            (self.retry, 6),
            (self.kill_child, 6),
            (self.kill_keeper, 4),
            (self.kill_launcher, 2),
            (self.kill_service, 1),
            (self.stop_and_continue, 2),
            (self.look, 6),
        ]
        functions, weights = zip(*actions, strict=True)
        deadline, check_at = time.monotonic() + seconds, time.monotonic() + CHECK_EVERY
        while time.monotonic() < deadline:
            action = self.dice.choices(functions, weights)[0]
            with suppress(httpx.HTTPError, AssertionError, FileNotFoundError):  # the service may be away just now
                action()
                self.counts[action.__name__] += 1
            self.revive()
            if time.monotonic() > check_at:
                self.check()
                check_at = time.monotonic() + CHECK_EVERY
        self.finish()

    def revive(self) -> None:
        """Start the service again if it is not there."""
        if not self.service.is_running():
            self.service.start()
            self.counts["restarts"] += 1

    def launch(self) -> None:
        """Ask for a process, of some lines and some exit code."""
        if self._alive_count() >= MOST_ALIVE:
            return
        number = len(self.wanted)
        truth = self.service.folder / f"truth-{number}"
        lines, code = self.dice.randrange(120), self.dice.randrange(5)
        deaf, family = self.dice.random() < 0.1, self.dice.random() < 0.2
        wanted = Wanted(f"chaos-{number}", truth, lines, code, deaf, family)
        self.wanted.append(wanted)
        self._ask(wanted)

    def retry(self) -> None:
        """Ask once more with the key of a launch that was answered, or was not: never a second process."""
        if self.wanted:
            self._ask(self.dice.choice(self.wanted[-50:]))

    def _ask(self, wanted: Wanted) -> None:
        more = {"grace": 0.5, "labels": {"key": wanted.key}}
        arguments = (str(wanted.truth), wanted.lines, 0.01, wanted.code, wanted.deaf, wanted.family)
        told = self.service.launch("targets:work", *arguments, headers={"Idempotency-Key": wanted.key}, **more)
        if wanted.id not in (None, told["id"]):
            raise Violation(f"one key, two processes: {wanted}, {told}")
        wanted.id = told["id"]

    def ask_for_an_end(self) -> None:
        """Stop, terminate, kill or interrupt one that is alive."""
        wanted = self._any(lambda each: each.id is not None and each.verified is None)
        if wanted is not None:
            wanted.asked = True
            action = self.dice.choice(("stop", "terminate", "kill", "interrupt"))
            self.service.client.post(f"/processes/{wanted.id}/{action}", json={})

    def kill_service(self) -> None:
        """SIGKILL; sometimes with everything else at the same moment, as a machine that loses its power."""
        if self.dice.random() < 0.2:
            self.counts["all at once"] += 1
            for pid in self.service.tree_pids():
                self._kill(pid)
        self.service.kill()

    def kill_launcher(self) -> None:
        """SIGKILL of the launcher."""
        for pid in self.service.launcher_pids:
            self._kill(pid)

    def kill_keeper(self) -> None:
        """SIGKILL of a keeper."""
        self._kill_one(lambda name: name == "procdeck-keeper")

    def kill_child(self) -> None:
        """SIGKILL of a child, by nobody whom the service knows."""
        self._kill_one(lambda name: not name.startswith("procdeck-"))

    def stop_and_continue(self) -> None:
        """SIGSTOP and SIGCONT of any of ours: a process that hangs for a moment."""
        pid = self.dice.choice([self.service.pid, *self.service.tree_pids()])
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(self.dice.random() * 0.5)
            os.kill(pid, signal.SIGCONT)

    def look(self) -> None:
        """Read as a page does."""
        self.service.client.get("/processes", params={"limit": 50}).raise_for_status()

    def _kill_one(self, fits: Callable[[str], bool]) -> None:
        pids = [pid for pid in self.service.tree_pids() if fits(_name(pid))]
        if pids:
            self._kill(self.dice.choice(pids))

    def _kill(self, pid: int) -> None:
        """SIGKILL; and note whom it will have hit."""
        name, hit = _name(pid), self._whose(pid)
        if hit is not None and name == "procdeck-keeper":
            hit.keeper_killed = True
        elif hit is not None:
            hit.child_killed = True
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def _whose(self, pid: int) -> Wanted | None:
        """Whose launch a keeper or a child belongs to."""
        folder = invariants.owner_of(pid, self.service.data_dir / "runs")
        if folder is None:
            return None
        key = _key_of(self.service.data_dir / "runs" / folder)
        return next((wanted for wanted in self.wanted if wanted.key == key), None)

    def _any(self, fits: Callable[[Wanted], bool]) -> Wanted | None:
        found = [wanted for wanted in self.wanted[-200:] if fits(wanted)]
        return self.dice.choice(found) if found else None

    def _alive_count(self) -> int:
        alive = [("state", state) for state in sorted(ACTIVE)]
        return len(self.service.client.get("/processes", params=[*alive, ("limit", "500")]).json()["items"])

    # --- checking ---------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Assert every invariant, of the processes that live and of those that ended since the last time."""
        self.revive()
        done = {wanted.id for wanted in self.wanted if wanted.verified is not None}
        processes = {process["id"]: process for process in invariants.hold(self.service, settled=done)}
        by_key: dict[str, list[JSON]] = {}
        for process in processes.values():
            by_key.setdefault(process["labels"]["key"], []).append(process)
        for wanted in self.wanted:
            self._check(wanted, by_key.get(wanted.key, []))
        self.descriptors.append(len(list(Path(f"/proc/{self.service.pid}/fd").iterdir())))
        self.counts["checks"] += 1

    def _check(self, wanted: Wanted, found: list[JSON]) -> None:
        said = f"{wanted}: {found}"
        assert len(found) <= 1, f"one key, two processes: {said}"
        assert found or wanted.id is None, f"a process that was promised is gone: {said}"
        began = [line for line in _lines(wanted.truth) if line.startswith("started")]
        assert len(began) <= 1, f"it was started twice: {said}"
        assert found or not began, f"it ran, and nobody knows it: {said}"
        if not found or found[0]["state"] not in SETTLED:
            return
        process = found[0]
        end = (process["state"], process["outcome"], process["exitcode"], process["stopped_at"])
        assert wanted.verified in (None, end), f"its end has changed: {said}"
        if wanted.verified is None:
            self._check_end(wanted, process, said)
            wanted.verified = end
            self.counts[f"outcome {process['outcome']}"] += 1

    def _check_end(self, wanted: Wanted, process: JSON, said: str) -> None:
        lines = _lines(wanted.truth)
        ended = [int(line.split()[1]) for line in lines if line.startswith("end ")]
        outcome, code = process["outcome"], process["exitcode"]
        if outcome == "lost":
            assert wanted.keeper_killed, f"it is lost, and nobody killed its keeper: {said}"
        elif outcome == "not_started":
            assert not lines, f"it is not started, and it ran: {said}"
        elif ended and code != ended[0]:
            # It was about to exit when a signal came.
            assert code is not None, f"it ended by itself with {ended[0]}: {said}"
            assert code < 0 or code == 1, f"it ended by itself with {ended[0]}: {said}"
            assert wanted.child_killed or wanted.keeper_killed or wanted.asked, f"nobody ended it: {said}"
        elif not ended and code is not None and code >= 0:
            assert wanted.asked, f"an exit code that it did not give: {said}"
        if outcome == "crashed":
            assert wanted.child_killed, f"it is crashed, and nobody killed it: {said}"
        if outcome != "lost":
            self._check_output(process, [line for line in lines if line.isdigit()])

    def _check_output(self, process: JSON, written: list[str]) -> None:
        logged = [line for line in self.service.log(process).splitlines() if line.isdigit()]
        assert len(written) - 1 <= len(logged) <= len(written), (
            f"{len(written)} lines, {len(logged)} in the log: {process}"
        )
        assert logged == written[: len(logged)], f"the log is not what was written: {process}"

    def finish(self) -> None:
        """End all that live, and check for the last time: nothing of them is left."""
        self.revive()
        for process in invariants.every(self.service):
            if process["state"] not in SETTLED:
                self.service.client.post(f"/processes/{process['id']}/kill", json={})
        wait_until(lambda: self._alive_count() == 0, 30, "these do not end")
        for wanted in self.wanted:
            wanted.asked = True
        self.check()
        self._check_leaks()

    def _check_leaks(self) -> None:
        spares = {pid for launcher in self.service.launcher_pids for pid in (launcher, *posix.descendants(launcher))}
        left = set(self.service.tree_pids()) - spares
        assert not left, f"these live on: {[(pid, _name(pid)) for pid in left]}"
        runs = self.service.data_dir / "runs"
        temporary = [
            path for path in runs.glob("*/*") if path.suffix in (".new", ".part") or path.name.startswith("lock.")
        ]
        assert not temporary, f"temporary files were left: {temporary}"
        assert self.descriptors[-1] <= min(self.descriptors) + MOST_ALIVE, f"descriptors grow: {self.descriptors}"


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _lines(truth: Path) -> list[str]:
    return truth.read_text().split("\n")[:-1] if truth.exists() else []


def _key_of(folder: Path) -> str | None:
    from procdeck import run_folder

    try:
        key: str = run_folder.read_spec(str(folder))["labels"]["key"]
    except (OSError, ValueError, KeyError):
        return None
    return key


def run(folder: Path, seconds: float, seed: int) -> Chaos:
    """Run chaos in ``folder``; leaves nothing behind. Raises AssertionError when an invariant does not hold."""
    flags = ("--start-timeout", "5", "--no-watch", "--on-exit", "leave", "--log-level", "warning")
    service = Service(folder, [TARGETS], flags)
    chaos = Chaos(service, random.Random(seed))
    try:
        chaos.run(seconds)
    except BaseException:
        print(service.text()[-5000:], file=sys.stderr)
        raise
    finally:
        service.close()
    return chaos


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    wanted = parser.parse_args()
    print(f"chaos for {wanted.seconds:g} s, seed {wanted.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="procdeck-chaos-") as folder:
        chaos = run(Path(folder), wanted.seconds, wanted.seed)
    for name, count in sorted(chaos.counts.items()):
        print(f"{count:7} {name.replace('_', ' ')}")
    print(f"{len(chaos.wanted):7} launches asked for; every invariant held (seed {wanted.seed})")


if __name__ == "__main__":
    main()
