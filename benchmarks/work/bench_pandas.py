"""The same work in a module that imports pandas, as a data job does."""

import sys

import bench_trivial  # type: ignore[import-not-found]
import pandas  # type: ignore[import-not-found,import-untyped,unused-ignore]  # noqa: F401


def first_line(fifo: str) -> None:
    """As in bench_trivial, after the import of pandas."""
    bench_trivial.first_line(fifo)


def sleep(fifo: str) -> None:
    """As in bench_trivial, after the import of pandas."""
    bench_trivial.sleep(fifo)


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
