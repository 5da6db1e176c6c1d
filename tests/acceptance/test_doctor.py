"""`procdeck doctor`, with and without a service, and with things that are really wrong."""

import json
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service import COMMAND, HOSTILE, Service
from tests.waiting import wait_until

Findings = dict[str, tuple[str, str]]
"""(level, sentence) by name; of several with one name the last."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service of well-behaved targets, not started."""
    service = Service(tmp_path, [HOSTILE])
    try:
        yield service
    finally:
        service.close()


def examined(service: Service, *, open_files: int | None = None) -> tuple[int, Findings]:
    """The exit code of the doctor, and what it found."""
    (service.folder / "procdeck.toml").write_text(f"[server]\ntargets = {json.dumps(service.targets)}\n")

    def limit() -> None:
        if open_files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))

    words = [str(COMMAND), "doctor", "--json", "--data-dir", str(service.data_dir)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PROCDECK_")}
    done = subprocess.run(
        words, cwd=service.folder, env=environ, capture_output=True, text=True, check=False, preexec_fn=limit
    )
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)["findings"]
    return done.returncode, {finding["name"]: (finding["level"], finding["sentence"]) for finding in told}


def test_nothing_is_wrong_before_the_first_start_and_with_a_service(service: Service) -> None:
    code, found = examined(service)
    assert code == 0, found
    assert found["data folder"][0] == "note"
    assert found["service"] == ("note", "None runs on this data folder.")
    assert found["targets"][0] == "ok"
    assert not service.data_dir.exists()
    service.start()
    process = service.launch("hostile:nap")
    code, found = examined(service)
    assert code == 0, found
    assert found["data folder"][0] == found["record"][0] == "ok"
    level, said = found["service"]
    assert level == "ok"
    assert f"pid {service.pid}, 1 process(es) alive" in said
    assert service.get(process)["state"] == "running"
    assert service.launch("hostile:say")


def test_what_is_wrong_is_a_problem_each(service: Service) -> None:
    broken = service.folder / "broken.py"
    broken.write_text("import not_there_at_all\n")
    service.targets.append(str(broken))
    service.start()
    service.stop()
    service.data_dir.chmod(0o755)
    (service.data_dir / "quarantine" / "0123").mkdir(parents=True)
    (service.data_dir / "procdeck.db").write_bytes(b"no database" * 1000)
    code, found = examined(service, open_files=200)
    assert code == 1
    wrong = {name for name, (level, _) in found.items() if level == "problem"}
    assert wrong == {"data folder", "quarantine", "record", "open files", "target"}
    assert "chmod 700" in found["data folder"][1]
    assert "0123" in found["quarantine"][1]
    assert "not a database" in found["record"][1]
    assert found["target"][1].startswith("broken can't be launched: ModuleNotFoundError")
    assert found["targets"][0] == "ok"


def test_a_service_that_does_not_answer(service: Service) -> None:
    service.start()
    (service.data_dir / "service.json").unlink()
    code, found = examined(service)
    assert code == 1
    assert found["service"][0] == "problem"
    assert found["targets"][0] == "ok", "asked from launchers of its own then"


def test_the_targets_of_a_running_service_are_its_own(service: Service) -> None:
    jobs = service.folder / "jobs.py"
    jobs.write_text("def work() -> None: ...\n")
    service.targets = [str(jobs)]
    service.start()
    assert examined(service)[0] == 0
    jobs.write_text("1 / 0\n")
    wait_until(lambda: examined(service)[0] == 1, 20, "a broken target is not seen")
    assert examined(service)[1]["target"] == ("problem", "jobs can't be launched: ZeroDivisionError: division by zero")


def test_lines_for_people(service: Service) -> None:
    done = subprocess.run(
        [str(COMMAND), "doctor", "--data-dir", str(service.data_dir)],
        cwd=service.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *lines, empty, summary = done.stdout.splitlines()
    assert empty == ""
    assert summary.startswith("0 problems, ")
    columns = {len(line) - len(line.split(None, 1)[1]) for line in lines}
    assert columns == {9}
    assert all(line.split()[0] in ("ok", "note", "warning", "problem") for line in lines)
