"""What /metrics tells."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from app.metrics import CONTENT_TYPE, Metrics
from procdeck.states import Outcome, State

Samples = dict[tuple[str, str | None], float]


def page(metrics: Metrics, states: Any = None, outcomes: Any = None, keepers: int = 0) -> Samples:
    """The samples of a page by name and the value of their label."""
    text = metrics.render((states or {}, outcomes or {}), keepers).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, next(iter(sample.labels.values()), None)): sample.value for sample in samples}


def test_processes_by_state_and_by_outcome() -> None:
    found = page(Metrics(), {State.RUNNING: 2, State.EXITED: 3}, {Outcome.FAILED: 3}, keepers=2)
    assert {state: found["procdeck_processes", state] for state in State} == {
        **dict.fromkeys(State, 0),
        State.RUNNING: 2,
        State.EXITED: 3,
    }
    assert {outcome: found["procdeck_processes_over", outcome] for outcome in Outcome} == {
        **dict.fromkeys(Outcome, 0),
        Outcome.FAILED: 3,
    }
    assert found["procdeck_keepers_connected", None] == 2


def test_what_went_away_goes_to_zero() -> None:
    metrics = Metrics()
    page(metrics, {State.RUNNING: 2}, {Outcome.FAILED: 1}, keepers=2)
    found = page(metrics)
    assert found["procdeck_processes", "running"] == 0
    assert found["procdeck_processes_over", "failed"] == 0
    assert found["procdeck_keepers_connected", None] == 0


def test_launches_log_bytes_and_clients() -> None:
    metrics = Metrics()
    metrics.launches.inc()
    metrics.launch_seconds.observe(0.006)
    metrics.log_bytes.inc(100)
    with metrics.sse_clients.labels("events").track_inprogress():
        found = page(metrics)
    assert found["procdeck_launches_total", None] == 1
    assert found["procdeck_log_bytes_total", None] == 100
    assert found["procdeck_launch_seconds_bucket", "0.0075"] == 1
    assert found["procdeck_launch_seconds_bucket", "0.005"] == 0
    assert found["procdeck_sse_clients", "events"] == 1
    assert page(metrics)["procdeck_sse_clients", "events"] == 0


def test_two_services_in_one_interpreter_do_not_mix() -> None:
    one, other = Metrics(), Metrics()
    one.launches.inc()
    assert page(other)["procdeck_launches_total", None] == 0
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")


def test_troubles_are_there_while_they_are() -> None:
    metrics = Metrics()
    text = metrics.render(({}, {}), 0, ["disk.space", "descriptors"]).decode()
    assert 'procdeck_troubles{key="disk.space"} 1.0' in text
    assert 'procdeck_troubles{key="descriptors"} 1.0' in text
    assert "procdeck_troubles{" not in metrics.render(({}, {}), 0).decode()


def test_what_cannot_be_counted_is_left_out_and_no_zero() -> None:
    metrics = Metrics()
    page(metrics, {State.RUNNING: 2}, {Outcome.FAILED: 1})
    text = metrics.render(None, 3, ["database"]).decode()
    assert "procdeck_processes{" not in text
    assert "procdeck_processes_over{" not in text
    assert 'procdeck_troubles{key="database"} 1.0' in text
    assert "procdeck_keepers_connected 3.0" in text
