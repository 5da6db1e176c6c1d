"""In a PID namespace of its own: process and keeper die, strangers get their numbers, the next service looks at them.

``python -m tests.faults.reused_pids FOLDER``; exit code 0 when all holds.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from procdeck import posix
from tests.faults.invariants import hold
from tests.runtime import is_alive
from tests.service import HOSTILE, Service
from tests.waiting import wait_until

LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
"""The next process of this namespace gets the number behind it (proc_sys_kernel(5))."""


def stranger(pid: int) -> "subprocess.Popen[bytes]":
    """A process of that number, at the head of a session as the one before it was."""
    wait_until(lambda: posix.stat(pid) is None, 10, f"pid {pid} is not free")
    for _ in range(100):
        LAST_PID.write_text(str(pid - 1))
        process = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        if process.pid == pid:
            return process
        process.kill()  # somebody else was faster
        process.wait()
    raise AssertionError(f"pid {pid} could not be had")


def main(folder: Path) -> None:
    """Assert that the strangers live on, and that the process is lost."""
    service = Service(folder, [HOSTILE])
    strangers: list[subprocess.Popen[bytes]] = []
    try:
        process = service.start().launch("hostile:nap")
        keeper = process["detail"]["keeper_pid"]
        service.kill()
        os.kill(keeper, signal.SIGKILL)
        strangers = [stranger(pid) for pid in (process["pid"], keeper)]
        service.start()
        lost = service.join(process)
        assert (lost["state"], lost["exitcode"], lost["is_alive"]) == ("lost", None, False), lost
        for action in ("kill", "terminate", "stop"):
            answer = service.client.post(f"/processes/{process['id']}/{action}")
            assert answer.status_code == 409, answer.text
        hold(service)
        service.stop()
        assert all(is_alive(other.pid) for other in strangers), "a signal went to a stranger"
    finally:
        service.close()
        for other in strangers:
            other.kill()
            other.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
