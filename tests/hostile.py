"""Targets that misbehave, each in one way. Not a test: the launcher imports it."""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from procdeck import progress, stop_requested


def say(text: str = "hello", code: int = 0) -> None:
    """Print one line and exit."""
    print(text)
    if code:
        sys.exit(code)


def half_characters(fail: bool = False) -> dict[str, str]:
    """Tell what UTF-8 does not have, as it comes of file names in another encoding."""
    odd = b"caf\xe9".decode(errors="surrogateescape")
    progress(0.5, odd)
    print(odd)
    if fail:
        raise ValueError(odd)
    return {odd: odd}


def whoami() -> dict[str, object]:
    """What multiprocessing says this process is."""
    process = multiprocessing.current_process()
    return {"name": process.name, "daemon": process.daemon, "pid": process.pid, "alive": process.is_alive()}


def own_child() -> None:
    """Start a process of one's own and wait for it."""
    process = multiprocessing.get_context("fork").Process(target=say)
    process.start()
    process.join()


def nap(seconds: float = 1000.0) -> None:
    """Sleep."""
    time.sleep(seconds)


def tick(path: str, every: float = 0.01, count: int = 1_000_000, code: int = 0) -> None:
    """Print and write to a file of its own the same numbered lines: the file is the ground truth of the log."""
    with Path(path).open("a", buffering=1) as truth:
        for number in range(count):
            truth.write(f"{number}\n")
            print(number)
            time.sleep(every)
    sys.exit(code)


def tick_until(path: str, gate: str, every: float = 0.05, code: int = 0) -> None:
    """As `tick`, until the file ``gate`` is there; the last line is "end"."""
    with Path(path).open("a", buffering=1) as truth:
        number = 0
        while not Path(gate).exists():
            truth.write(f"{number}\n")
            print(number)
            number += 1
            time.sleep(every)
        truth.write("end\n")
        print("end")
    sys.exit(code)


def wait_for_file(path: str, code: int = 0) -> None:
    """Exit as soon as the file is there."""
    while not Path(path).exists():
        time.sleep(0.005)
    print("found", path)
    sys.exit(code)


def count(path: str) -> None:
    """Append a line to a file: how often it was started."""
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")


def until_stopped() -> str:
    """Loop until asked to stop."""
    print("waiting")
    while not stop_requested():
        time.sleep(0.005)
    print("asked to stop")
    return "stopped politely"


def deaf(seconds: float = 1000.0) -> None:
    """Ignore SIGTERM and SIGINT."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("deaf")
    time.sleep(seconds)


def family(code: int = 7, wait: bool = False) -> None:
    """Leave a grandchild in a session of its own that ignores SIGTERM and holds stdout."""
    born, tell = os.pipe()
    between = os.fork()
    if between == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            print("grandchild", os.getpid())
            os.write(tell, b"!")
            time.sleep(1000)
        os._exit(0)
    os.waitpid(between, 0)
    os.read(born, 1)
    if wait:
        time.sleep(1000)
    sys.exit(code)


def outsider() -> None:
    """Start a program that closes what it inherits and leaves the session, then wait."""
    program = subprocess.Popen(["sleep", "1000"], start_new_session=True, stdout=subprocess.DEVNULL, close_fds=True)
    print("outsider", program.pid)
    time.sleep(1000)


def kill_parent() -> None:
    """SIGKILL to the parent."""
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(1000)


def steps(number: int = 3) -> dict[str, int]:
    """Report progress."""
    for step in range(1, number + 1):
        progress(step / number, f"step {step}")
        time.sleep(0.05)
    return {"steps": number}


def prompt(gate: str = "/no/such/file") -> None:
    """Write a prompt without its newline, and the answer when the file ``gate`` is there."""
    sys.stdout.write("name? ")
    sys.stdout.flush()
    while not Path(gate).exists():
        time.sleep(0.005)
    print("nobody")


def segfault() -> None:
    """Read address 0."""
    ctypes.string_at(0)


def abort() -> None:
    """SIGABRT."""
    os.abort()


def leave(code: object = None) -> None:
    """sys.exit with whatever."""
    sys.exit(code)  # type: ignore[arg-type]


def leave_at_once(code: int) -> None:
    """os._exit."""
    os._exit(code)


def close_output() -> None:
    """Close stdout and stderr and live on."""
    print("closing")
    os.close(1)
    os.close(2)
    time.sleep(1000)


def close_everything() -> None:
    """Close every descriptor but stdio, then exit with 5."""
    os.closerange(3, 4096)
    os._exit(5)


def leave_a_thread() -> None:
    """Return while a thread that is not daemonic goes on."""
    threading.Thread(target=time.sleep, args=[1000]).start()
    print("returning")


def become(*command: str) -> None:
    """os.execvp."""
    os.execvp(command[0], list(command))


def read_input() -> str:
    """What stdin gives."""
    return repr(sys.stdin.read())


def big_result(size: int) -> str:
    """A long return value."""
    return "x" * size


def odd_result() -> object:
    """A return value that is not JSON."""
    return object()


def raw(data: str) -> None:
    """Write bytes given as hexadecimal digits."""
    os.write(1, bytes.fromhex(data))


def long_line(size: int) -> None:
    """One line of ``size`` bytes."""
    print("x" * size)


def both(lines: int) -> None:
    """Numbered lines on both streams."""
    for number in range(lines):
        print("out", number)
        print("err", number, file=sys.stderr)


def environment(*names: str) -> list[str | None]:
    """Variables, the working folder last."""
    return [*(os.environ.get(name) for name in names), str(Path.cwd())]


def signals_in_force() -> dict[str, int]:
    """The masks of blocked and ignored signals of /proc/self/status.

    Without 32 and 33, which are the C library's own (nptl(7)): nobody can set them, and they are as the machine's
    session left them.
    """
    settable = sum(1 << (number - 1) for number in signal.valid_signals())
    status = Path("/proc/self/status").read_text().splitlines()
    masks = (line.split(":\t") for line in status if line.startswith(("SigBlk", "SigIgn")))
    return {name: int(value, 16) & settable for name, value in masks}


def open_files() -> dict[str, str]:
    """This process's descriptors."""
    found = {}
    for fd in Path("/proc/self/fd").iterdir():
        try:
            found[fd.name] = str(fd.readlink())
        except OSError:
            continue
    return found


def on_usr1() -> None:
    """Print when SIGUSR1 comes, and exit then."""

    def come(*_: object) -> None:
        print("usr1")
        sys.exit(0)

    signal.signal(signal.SIGUSR1, come)
    print("ready")
    while True:
        time.sleep(1)


def memory(size: int) -> None:
    """Hold ``size`` bytes for ever."""
    block = bytearray(size)
    for page in range(0, size, 4096):
        block[page] = 1
    print("holding")
    time.sleep(1000)
