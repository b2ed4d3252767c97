"""The report: one file that needs nothing else, tells what happened, and lets nothing hostile through."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from corral.ids import RunId
from corral.model.event import Event
from corral.model.run import TASK_STATES, Options, Run
from corral.results import html, report
from tests.results.world import World

NOW = datetime(2026, 3, 1, 13, tzinfo=UTC)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
VOID = {"meta", "br"}


class Page(HTMLParser):
    """Reads a page strictly: each tag is closed by its own."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def a_run(**facts: Any) -> Run:
    ordinary: dict[str, Any] = {
        "id": RunId(1), "name": "sim", "folder": "/work", "state": "done", "reason": "",
        "generation": 1, "words": ("./sim {T=1,2}",), "options": Options(out="/work/results/sim"),
        "tasks": 2, "created": NOON, "opened": NOON, "ended": NOW, "typical_s": 1.0,
        "counts": dict.fromkeys(TASK_STATES, 0) | {"done": 1, "failed": 1},
    }  # fmt: skip
    return Run(**(ordinary | facts))


def written(world: World, *, run: Run | None = None, events: tuple[Event, ...] = ()) -> str:
    out = io.BytesIO()
    report.write(out, run=run or a_run(), source=world, events=events, now=NOW)
    return out.getvalue().decode()


def page(world: World, **more: Any) -> Page:
    return Page(written(world, **more))


def test_it_tells_who_did_what_and_what_failed_and_why(world: World) -> None:
    world.names, world.rule = ("T",), "table"
    world.task("1", stdout=b"E=2.50")
    world.task(
        "2", state="failed", reason="exit 3", exit=3, stderr=b"a\nno convergence\n", host="n2"
    )
    world.attempt(1, "n1")
    world.attempt(2, "n2", outcome="failed")
    event = Event(
        id=1, at=NOON, kind="paused", run="sim", host="", tickets=("1-1-2-1",), text="bad"
    )
    words = page(world, events=(event,)).words
    for said in (
        "./sim {T=1,2}", "1 done", "1 failed", "2 attempts", "2 hosts",
        "1 × exit 3 tasks 2; on n2 (1)", "no convergence", "2026-03-01 12:00:00 UTC",
        "1 1 2.50 done 0 1.500 gpu07 1", "paused 1-1-2-1 bad",
    ):  # fmt: skip
        assert said in words, said


def test_means_over_replicates_are_shown(world: World) -> None:
    world.names, world.reps, world.rule = ("T",), 2, "table"
    for rep, value in enumerate((2, 4), 1):
        world.task("1", rep=rep, stdout=b"E=%d" % value)
    assert "T E n E mean E ± 1 2 3 12.7" in page(world).words


def test_nothing_hostile_comes_through(world: World) -> None:
    evil = "<script>alert('x')</script>\"><img src=x onerror=y>\x1b[31m\x00\u202eabc\udcff"
    world.names, world.rule = (evil,), "table"
    world.task(evil, stdout=f"k={evil}".encode("utf-8", "surrogateescape"), host=evil)
    world.task(evil, state="failed", reason=evil, stderr=evil.encode("utf-8", "surrogateescape"))
    world.attempt(1, evil, message=evil)
    run = a_run(name=evil, words=(evil,), folder=evil, reason=evil)
    event = Event(id=1, at=NOON, kind="paused", run=evil, host=evil, tickets=(evil,), text=evil)
    text = written(world, run=run, events=(event,))
    found = Page(text)
    assert not found.tags & {"script", "img"}
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    assert not any(name.startswith("on") for name, _ in found.attributes)


def test_it_needs_nothing_else(world: World) -> None:
    world.task(stdout=b"1")
    world.attempt(1, "n1")
    text = written(world)
    assert not {name for name, _ in Page(text).attributes} & {"src", "href", "srcset", "action"}
    assert "url(" not in text
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text


def test_a_run_without_anything_has_a_report(world: World) -> None:
    run = a_run(state="preparing", tasks=0, counts=dict.fromkeys(TASK_STATES, 0))
    assert "0 tasks" in page(world, run=run).words


def test_a_timeline_shows_when_and_what_came_to_nothing(world: World) -> None:
    world.attempt(1, "n1", started=NOON, seconds=60.0)
    world.attempt(2, "n1", started=NOON + timedelta(seconds=60), seconds=60.0, outcome="lost")
    bars = re.findall(r'<rect class="(\w+)" x="([\d.]+)"', written(world))
    middle = html.LABEL + (html.WIDTH - html.LABEL) / 2
    assert {kind for kind, x in bars if float(x) < middle - 1} == {"draw"}
    assert {kind for kind, x in bars if float(x) > middle + 1} == {"bad"}


def test_an_attempt_that_still_runs_is_drawn_up_to_now(world: World) -> None:
    world.attempt(1, "n1", started=NOW - timedelta(minutes=2), seconds=None, ended=None,
                  state="running", outcome=None, exit=None)  # fmt: skip
    assert "2:00 from first start to last end" in page(world).words


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 0.5, 1e6])
def test_any_time_has_its_bar(world: World, seconds: float) -> None:
    world.task(seconds=seconds)
    world.attempt(1, "n1", seconds=seconds)
    assert "1 task of" in written(world)


def test_of_many_tasks_the_first_are_shown_and_the_rest_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "ROWS", 3)
    for _ in range(10):
        world.task(stdout=b"x")
    words = page(world).words
    assert "7 more tasks: all of them: /work/results/sim/results.csv." in words
    assert "10 tasks" in words


def test_of_many_reasons_the_commonest_are_shown(world: World) -> None:
    for number in range(report.REASONS + 2):
        for _ in range(2 if number == 5 else 1):
            world.task(state="failed", reason=f"reason {number}", exit=1)
    words = page(world).words
    assert words.index("2 × reason 5") < words.index("1 × reason 0")
    assert "2 more reasons" in words
