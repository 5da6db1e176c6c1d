"""How a target has fared: its last processes in words, as ticks, and as the bars of a chart. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.db import statistics
from app.lifecycle import Process
from app.pages import words
from procdeck.states import Outcome

CHART_HEIGHT = 120
BAR_WIDTH = 10
BAR_STEP = 13
LEAST_HEIGHT = 3
"""So that what took no time can be seen, and hit."""


@dataclass(frozen=True, slots=True)
class Run:
    """One process of a target; ``word`` is its outcome once it is over, else its state. ``duration`` in seconds."""

    id: str
    name: str
    word: str
    duration: float | None
    started_at: datetime | None

    @property
    def is_over(self) -> bool:
        """Whether it has an outcome."""
        return self.word in set(Outcome)

    @property
    def text(self) -> str:
        """`train-7: failed after 2:10`."""
        said = words.status_word(self.word).lower()
        took = f" after {words.duration(self.duration)}" if self.is_over and self.duration is not None else ""
        at = f", started {words.utc(self.started_at)}" if self.started_at else ""
        return f"{self.name}: {said}{took}{at}"


def run_of(process: Process | statistics.Run) -> Run:
    """A process as one of the runs of its target."""
    return Run(process.id, process.name, str(process.outcome or process.state), process.duration, process.started_at)


@dataclass(frozen=True, slots=True)
class Summary:
    """Of some runs: how many are over, how many of these succeeded, how long those took on average (seconds)."""

    over: int
    succeeded: int
    average: float | None
    text: str

    @property
    def percent(self) -> int | None:
        """Successes in a hundred; 100 and 0 only when it is all or none."""
        if not self.over:
            return None
        if self.succeeded in (0, self.over):
            return 100 if self.succeeded else 0
        return min(max(round(100 * self.succeeded / self.over), 1), 99)


def summary(runs: Sequence[Run]) -> Summary:
    """What there is to say of runs; the text counts them by outcome, the commonest first."""
    over = [run for run in runs if run.is_over]
    took = [run.duration for run in over if run.word == Outcome.SUCCEEDED and run.duration is not None]
    counts = Counter(run.word for run in runs).most_common()
    text = ", ".join(f"{count} {words.status_word(word).lower()}" for word, count in counts)
    succeeded = sum(run.word == Outcome.SUCCEEDED for run in over)
    return Summary(len(over), succeeded, sum(took) / len(took) if took else None, text)


@dataclass(frozen=True, slots=True)
class Bar:
    """A run as a bar: its place and size in the chart."""

    run: Run
    x: int
    y: int
    height: int


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars from the oldest to the newest, as high as their runs took long; ``longest`` in seconds."""

    bars: list[Bar]
    width: int
    longest: float
    height: int = CHART_HEIGHT
    bar_width: int = BAR_WIDTH


def chart(newest_first: Sequence[Run]) -> Chart | None:
    """The chart of the runs that are over and were measured; None when there are fewer than two of them."""
    runs = [run for run in reversed(newest_first) if run.is_over and run.duration is not None]
    if len(runs) < 2:
        return None
    longest = max(run.duration or 0.0 for run in runs)
    bars = []
    for index, run in enumerate(runs):
        share = (run.duration or 0.0) / longest if longest > 0 else 0.0
        height = max(LEAST_HEIGHT, round(share * CHART_HEIGHT))
        bars.append(Bar(run, index * BAR_STEP, CHART_HEIGHT - height, height))
    return Chart(bars, len(runs) * BAR_STEP, longest)
