"""Times and sizes as people write them."""

from __future__ import annotations

import pytest

from corral.errors import UsageError
from corral.units import seconds, show_seconds, show_size, size


@pytest.mark.parametrize(
    ("text", "value"),
    [("90", 90), ("2s", 2), ("5m", 300), ("1h30m", 5400), ("1.5h", 5400), ("00:10:00", 600),
     ("250ms", 0.25), ("1d", 86400), ("2:30", 150), ("1 min", 60)],
)  # fmt: skip
def test_times(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(
    "text", ["", "soon", "0", "-5", "5x", "1:2:3:4", "m", "1h x", "inf", "nan"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4096", 4096),
        ("64K", 65536),
        ("1.5G", 1610612736),
        ("2GiB", 2147483648),
        ("100MB", 104857600),
    ],
)
def test_sizes(text: str, value: int) -> None:
    assert size(text) == value


@pytest.mark.parametrize("text", ["", "big", "5X", "-1K"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError):
        size(text)


def test_for_people() -> None:
    assert [show_seconds(s) for s in (0.05, 4.2, 42, 200, 8000, 200_000)] == [
        "0.05 s", "4.2 s", "42 s", "3:20", "2:13:20", "2 d 7 h",
    ]  # fmt: skip
    assert [show_size(n) for n in (0, 1023, 1536, 20 << 20, 3 << 40)] == [
        "0 B", "1023 B", "1.5 KB", "20 MB", "3.0 TB",
    ]  # fmt: skip
