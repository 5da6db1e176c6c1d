"""What `/metrics` tells, in Prometheus' text format."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from procdeck.states import Outcome, State

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Counts = tuple[dict[State, int], dict[Outcome, int]]
"""How many processes there are in each state, and of each outcome, that occurs."""


class Metrics:
    """The service's instruments, in a registry of their own: two services in one interpreter do not mix."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self._states = Gauge("procdeck_processes", "Processes in the record.", ["state"], registry=registry)
        self._outcomes = Gauge("procdeck_processes_over", "Processes that are over.", ["outcome"], registry=registry)
        self.launches = Counter("procdeck_launches", "Processes launched since the service started.", registry=registry)
        self.launch_seconds = Histogram(
            "procdeck_launch_seconds",
            "From the request to launch to the process running and recorded.",
            buckets=(0.0025, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
            registry=registry,
        )
        self.log_bytes = Counter("procdeck_log_bytes", "Bytes that keepers appended to logs.", registry=registry)
        self.log_trimmed_bytes = Counter(
            "procdeck_log_trimmed_bytes", "Bytes of the oldest logs removed for a budget of logs.", registry=registry
        )
        self.pruned = Counter(
            "procdeck_pruned_processes", "Finished processes removed by retention or prune.", registry=registry
        )
        self.sse_clients = Gauge("procdeck_sse_clients", "Open event streams.", ["stream"], registry=registry)
        self.keepers = Gauge(
            "procdeck_keepers_connected", "Keepers that are connected to the service.", registry=registry
        )
        self._troubles = Gauge(
            "procdeck_troubles", "1 for each trouble of the service that is present.", ["key"], registry=registry
        )

    def render(self, counts: Counts | None, keepers: int, troubles: Iterable[str] = ()) -> bytes:
        """The page, with the processes as counted in the record (None when they can't be) and the keys of what is wrong
        now."""
        self.keepers.set(keepers)
        self._troubles.clear()
        for key in troubles:
            self._troubles.labels(key).set(1)
        self._states.clear()
        self._outcomes.clear()
        if counts is not None:
            states, outcomes = counts
            for state in State:
                self._states.labels(state).set(states.get(state, 0))
            for outcome in Outcome:
                self._outcomes.labels(outcome).set(outcomes.get(outcome, 0))
        return generate_latest(self._registry)
