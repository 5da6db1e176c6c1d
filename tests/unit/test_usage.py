"""The history of what a process used: its file, and what becomes of one that is full or was written to by others."""

import os
import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from procdeck.usage import MAGIC, MOST_BYTES, MOST_RECORDS, RECORD, USAGE, Point, UsageWriter, parse, read, thinned


def point(at: int, cpu: float = 0.0, rss: int = 10, **more: int) -> Point:
    figures = {"threads": 1, "open_files": 3, "processes": 1} | more
    return Point(float(at), at / 2, rss, rss, cpu, **figures)


def sample(cpu_seconds: float = 1.0, **more: float) -> dict[str, int | float]:
    figures: dict[str, int | float] = {"cpu_seconds": cpu_seconds, "cpu_percent": 50.0, "rss_bytes": 1000}
    return figures | {"threads": 2, "open_files": 5, "processes": 1} | more


def content(points: list[Point]) -> bytes:
    return MAGIC + b"".join(RECORD.pack(*each) for each in points)


def test_it_fits_its_bound() -> None:
    assert MOST_BYTES <= 64 * 1024
    assert MOST_RECORDS % 2 == 0


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    writer = UsageWriter(str(tmp_path))
    assert read(f"{tmp_path}/{USAGE}") == []
    writer.add(sample(1.0))
    writer.add(sample(2.0, rss_bytes=5000))
    first, second = read(f"{tmp_path}/{USAGE}")
    assert first[1:] == (1.0, 1000, 1000, 50.0, 2, 5, 1)
    assert (second.cpu_seconds, second.rss_bytes) == (2.0, 5000)
    assert second.at > first.at
    assert (tmp_path / USAGE).stat().st_mode & 0o777 == 0o600


def test_where_nothing_changes_nothing_is_written_until_it_does(tmp_path: Path) -> None:
    writer = UsageWriter(str(tmp_path))
    writer.add(sample(1.0))
    for _ in range(10):
        writer.add(sample(1.0))
    assert len(read(f"{tmp_path}/{USAGE}")) == 1
    writer.add(sample(3.0))
    assert [each.cpu_seconds for each in read(f"{tmp_path}/{USAGE}")] == [1.0, 1.0, 3.0]
    writer.add(sample(3.0))
    writer.close()
    writer.close()
    assert [each.cpu_seconds for each in read(f"{tmp_path}/{USAGE}")] == [1.0, 1.0, 3.0, 3.0]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 99, 100])
def test_thinning_keeps_the_ends_and_the_highest(count: int) -> None:
    points = [point(at, cpu=at % 7, rss=100 - at, threads=at) for at in range(1, count + 1)]
    thin = thinned(points)
    assert len(thin) == 1 + count // 2
    assert (thin[0], thin[-1].at, thin[-1].cpu_seconds) == (points[0], points[-1].at, points[-1].cpu_seconds)
    assert max(each.max_cpu_percent for each in thin) == max(each.max_cpu_percent for each in points)
    assert max(each.max_rss_bytes for each in thin) == max(each.max_rss_bytes for each in points)
    assert max(each.threads for each in thin) == count
    assert all(one.at < other.at for one, other in pairwise(thin))


def test_a_full_file_goes_on_at_half_the_resolution(tmp_path: Path) -> None:
    path = tmp_path / USAGE
    writer = UsageWriter(str(tmp_path))
    writer.add(sample(0.0, cpu_percent=777.0, rss_bytes=10**9))
    for number in range(3 * MOST_RECORDS):
        writer.add(sample(number))
        assert path.stat().st_size <= MOST_BYTES
    points = read(str(path))
    assert MOST_RECORDS // 2 <= len(points) <= MOST_RECORDS
    assert max(each.max_cpu_percent for each in points) == 777.0
    assert max(each.max_rss_bytes for each in points) == 10**9
    assert points[-1].cpu_seconds == 3 * MOST_RECORDS - 1
    assert all(one.cpu_seconds <= other.cpu_seconds for one, other in pairwise(points))
    assert [file.name for file in tmp_path.iterdir()] == [USAGE]


@pytest.mark.parametrize("rest", [1, RECORD.size - 1])
def test_a_record_that_was_written_in_part_is_written_over(tmp_path: Path, rest: int) -> None:
    path = tmp_path / USAGE
    path.write_bytes(content([point(1), point(2)]) + b"x" * rest)
    UsageWriter(str(tmp_path)).add(sample(9.0))
    points = read(str(path))
    assert [each.at for each in points[:2]] == [1, 2]
    assert points[2].cpu_seconds == 9.0
    assert path.stat().st_size == len(MAGIC) + 3 * RECORD.size


@pytest.mark.parametrize("was", [b"", MAGIC[:5], MAGIC])
def test_a_beginning_that_was_cut_is_made_again(tmp_path: Path, was: bytes) -> None:
    (tmp_path / USAGE).write_bytes(was)
    UsageWriter(str(tmp_path)).add(sample())
    assert len(read(f"{tmp_path}/{USAGE}")) == 1


def test_nothing_that_is_in_its_place_is_touched_or_in_the_way(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of somebody else")
    makers: list[Callable[[Path], object]] = [lambda path: path.symlink_to(secret), Path.mkdir, os.mkfifo]
    for number, make in enumerate(makers):
        folder = tmp_path / str(number)
        folder.mkdir()
        make(folder / USAGE)
        writer = UsageWriter(str(folder))
        writer.add(sample())
        writer.close()
    assert secret.read_text() == "of somebody else"
    gone = UsageWriter(str(tmp_path / "gone"))
    gone.add(sample())
    assert not (tmp_path / "gone").exists()
    assert read(str(tmp_path / "2" / USAGE)) == []


def test_what_others_have_written_into_it_is_left_out() -> None:
    nan, inf = float("nan"), float("inf")
    odd = [
        point(5),
        point(5),
        point(4),
        Point(nan, 0, 1, 1, 0, 1, 1, 1),
        Point(inf, 0, 1, 1, 0, 1, 1, 1),
        Point(-1, 0, 1, 1, 0, 1, 1, 1),
        point(6)._replace(cpu_seconds=nan),
        point(6)._replace(max_cpu_percent=inf),
        point(7),
    ]
    assert [each.at for each in parse(content(odd))] == [5, 7]
    assert parse(b"") == parse(b"something else") == parse(MAGIC) == []
    assert len(parse(content([point(1)]) + struct.pack("<d", 2.0))) == 1


def test_figures_of_any_size_are_taken(tmp_path: Path) -> None:
    UsageWriter(str(tmp_path)).add(sample(threads=2**40, rss_bytes=2**70, open_files=-1))
    (found,) = read(f"{tmp_path}/{USAGE}")
    assert (found.threads, found.rss_bytes, found.open_files) == (2**32 - 1, 2**64 - 1, 0)
