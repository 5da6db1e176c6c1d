"""Targets that misbehave, each in one way. Not a test: the launcher imports it."""

import builtins
import ctypes
import locale
import multiprocessing
import os
import resource
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


def leave_a_child(code: int = 7) -> None:
    """os.fork, and os._exit while that child lives on with every descriptor."""
    born, tell = os.pipe()
    if os.fork() == 0:
        print("grandchild", os.getpid())
        os.write(tell, b"!")
        time.sleep(1000)
    os.read(born, 1)
    os._exit(code)


def multiply(gate: str) -> None:
    """A fork bomb, which goes off when the file ``gate`` is there."""
    print("armed")
    while not Path(gate).exists():
        time.sleep(0.005)
    while True:
        try:
            os.fork()
        except OSError:
            time.sleep(0.05)


def upset() -> None:
    """Change everything that a process has of its own."""
    os.chdir("/")
    os.umask(0o777)
    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (64, hard))
    os.environ.clear()
    os.nice(5)
    locale.setlocale(locale.LC_ALL, "C")
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    print("upset")
    time.sleep(1000)


def circumstances() -> dict[str, object]:
    """What `upset` changes, as it is here."""
    umask = os.umask(0)
    os.umask(umask)
    return {
        "folder": str(Path.cwd()),
        "umask": umask,
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "size": resource.getrlimit(resource.RLIMIT_FSIZE),
        "nice": os.nice(0),
        "locale": locale.setlocale(locale.LC_ALL),
        "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "path": os.environ.get("PATH"),
    }


def kill_group() -> None:
    """SIGKILL to all of the process group."""
    os.killpg(0, signal.SIGKILL)


def take_one_s_time(seconds: float = 60.0) -> None:
    """Need long to handle SIGTERM."""

    def linger(*_: object) -> None:
        print("going, but not yet")
        time.sleep(seconds)
        sys.exit(0)

    signal.signal(signal.SIGTERM, linger)
    print("ready")
    time.sleep(1000)


def fail(kind: str) -> None:
    """Raise an exception of the builtins."""
    raise getattr(builtins, kind)("on purpose")


def interrupt_oneself() -> None:
    """SIGINT."""
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1000)


def endless_line(size: int) -> None:
    """``size`` bytes without a newline, as fast as they go."""
    block = b"x" * 2**16
    for _ in range(size // len(block)):
        os.write(1, block)


def many_lines(count: int, gate: str | None = None) -> None:
    """Numbered lines, as fast as they go; the last ones when the file ``gate`` is there."""
    for first in range(0, count, 1000):
        text = "".join(f"{number}\n" for number in range(first, first + 1000)).encode()
        while text:
            text = text[os.write(1, text) :]
    while gate is not None and not Path(gate).exists():
        time.sleep(0.005)
    print("end")


def many_short_writes(gate: str) -> None:
    """A line in a write of its own, and the next at once, until the file ``gate`` is there."""
    number = 0
    while number % 1000 or not Path(gate).exists():
        os.write(1, b"%d\n" % number)
        number += 1


def pour(path: str) -> None:
    """Write the bytes of a file to stdout, in pieces of all sizes."""
    content = Path(path).read_bytes()
    while content:
        content = content[os.write(1, content[: 1 + len(content) // 3]) :]


def say_and_die() -> None:
    """Print a line, then SIGKILL to oneself."""
    print("last words")
    os.kill(os.getpid(), signal.SIGKILL)


def flood(size: int, gate: str) -> None:
    """``size`` bytes as fast as they go, in numbered lines of 64 KiB; then wait for the file ``gate``."""
    for number in range(size // 2**16):
        text = b"%08d %s\n" % (number, b"x" * (2**16 - 10))
        while text:
            text = text[os.write(1, text) :]
    print("flooded")
    while not Path(gate).exists():
        time.sleep(0.005)
