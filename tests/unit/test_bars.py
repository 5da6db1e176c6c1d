"""Progress bars in output: what tqdm draws, and what only looks like it."""

import pytest

from procdeck import bars

BARS = [
    (" 62%|██████▏   | 62/100 [00:12<00:07,  5.10it/s]", 0.62, "62/100, 5.10it/s, 00:07 left"),
    ("epoch 3:  62%|######2   | 62/100 [00:12<00:07, 5.1it/s]", 0.62, "epoch 3: 62/100, 5.1it/s, 00:07 left"),
    ("  0%|          | 0/3 [00:00<?, ?it/s]", 0.0, "0/3"),
    ("100%|██████████| 3/3 [00:03<00:00,  1.00s/it]", 1.0, "3/3, 1.00s/it"),
    ("a: b:  50%|█████     | 1.20M/2.40M [1:00:12<1:00:12, 333B/s]", 0.5, "a: b: 1.20M/2.40M, 333B/s, 1:00:12 left"),
    (
        "train: 25%|██▌   | 1/4 [00:01<00:03, 1.00it/s, loss=0.3, lr=1]",
        0.25,
        "train: 1/4, 1.00it/s, 00:03 left, loss=0.3, lr=1",
    ),
    ("33%|\x1b[31m███\x1b[0m     | 1/3 [00:01<00:02, 1.00it/s]", 0.3333, "1/3, 1.00it/s, 00:02 left"),
    ("40%|| 2/5 [00:01<00:02]", 0.4, "2/5, 00:02 left"),
    # What the percentage says is drawn; numbers that do not fit it are of something else.
    ("70%|███| 1/100 [00:01<00:02, 1.00it/s]", 0.7, "1/100, 1.00it/s, 00:02 left"),
]

NO_BARS = [
    "",
    "62it [00:12, 5.1it/s]",
    "cpu 93%|mem 20%|disk 1%",
    "|  5%|a|b/c [x]",
    "at 50% | 3/6 [x]",
    "500%|██| 5/1 [00:01<00:00, 1it/s]",
    "x50%|██| 1/2 [00:01<00:00, 1it/s]",
    "50%|██| 1/2",
    "²%|██| 1/2 [00:01<00:00, 1it/s]",
]


@pytest.mark.parametrize(("line", "fraction", "message"), BARS)
def test_a_bar_is_progress(line: str, fraction: float, message: str) -> None:
    assert bars.parse(line) == {"fraction": fraction, "message": message}


@pytest.mark.parametrize("line", NO_BARS)
def test_what_is_none_tells_nothing(line: str) -> None:
    assert bars.parse(line) is None
    assert bars.find(line.encode()) is None


def bar(done: int, name: str = "") -> bytes:
    return f"{name}{done}%|██| {done}/100 [00:01<00:02, 1it/s]".encode()


def fraction(text: bytes) -> object:
    found = bars.find(text)
    return found and found["fraction"]


def test_the_last_bar_counts_wherever_it_ends() -> None:
    assert fraction(b"\r" + bar(1) + b"\r" + bar(2)) == 0.02
    assert fraction(b"\r" + bar(1) + b"\r" + bar(2) + b"\nand then\n") == 0.02
    assert fraction(b"\r" + bar(1) + b"\r" + bar(2)[:8]) == 0.01
    assert fraction(b"\xff\xfe%|\r" + bar(3) + b"\r\n\xff%|") == 0.03


def test_of_bars_below_each_other_the_first_one_counts() -> None:
    below = b"\n\r" + bar(90, "inner: ") + b"\x1b[A"
    assert fraction(b"\r" + bar(10, "outer: ") + below * 3) == 0.1
    assert bars.find(below * 3) is None


def test_a_message_has_its_length() -> None:
    found = bars.parse("d" * 1000 + ": " + bar(5).decode())
    assert found is not None
    assert len(str(found["message"])) == bars.MAX_MESSAGE


def test_the_tail_is_bounded_and_joins_what_was_read_in_parts() -> None:
    text = b""
    for at in range(0, len(bar(42)), 5):
        text = bars.tail(text, bar(42)[at : at + 5])
    assert fraction(text) == 0.42
    for size in (1, 1000, bars.TAIL_BYTES, 10 * bars.TAIL_BYTES):
        text = bars.tail(text, b"x" * size)
        assert len(text) <= bars.TAIL_BYTES
    assert text == b"x" * bars.TAIL_BYTES
