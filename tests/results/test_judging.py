"""Checks of a result: what each asks for, how it is written, and when there is no verdict."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from corral.errors import UsageError
from corral.results import checks
from corral.results.checks import NoVerdictError
from tests.results.world import World

if TYPE_CHECKING:
    from pathlib import Path

    from corral.model.task import Result


def reason(world: World, result: Result, *texts: str, **more: Any) -> str:
    """Judge; "" = valid."""
    verdict = checks.judge([checks.read(text) for text in texts], world, result, **more)
    assert verdict.ok is not bool(verdict.reason)
    return verdict.reason


CASES: list[Any] = [
    ("nonempty", b"x", ""),
    ("nonempty", b"", "stdout is empty"),
    ("lines=1", b"one\n", ""),
    ("lines=1", b"one", ""),
    ("lines=2", b"one\ntwo", ""),
    ("lines=1", b"one\ntwo", "stdout has 2 lines instead of 1"),
    ("lines=1", b"", "stdout has 0 lines instead of 1"),
    ("lines=0", b"", ""),
    ("lines=2", b"one\n", "stdout has 1 line instead of 2"),
    ("lines=2", b"\n\n", ""),
    ("lines>=2", b"1\n2\n3\n", ""),
    ("lines>=2", b"1\n", "stdout has 1 line instead of at least 2"),
    ("size>=3", b"abc", ""),
    ("size>=3", b"ab", "stdout has 2 bytes, less than 3"),
    ("size>=1K", b"x" * 1023, "stdout has 1023 bytes, less than 1024"),
    ("matches=^E=\\d+$", b"talk\nE=1\n", ""),
    ("matches=^E=\\d+$", b"E=x\n", "stdout does not match ^E=\\d+$: 'E=x'"),
    ("matches=a:b=c", b"a:b=c", ""),
    ("json", b'{"a": 1}', ""),
    ("json", b"3", ""),
    ("json", b'{"a": NaN}\n', ""),
    ("json", b'{"a": 1}\n\n{"a": 2}\n', ""),
    ("json", b'{"a": 1}\n{"a": ', 'stdout is no JSON: \'{"a": 1} {"a":\''),
    ("json", b"", "stdout is no JSON: ''"),
    ("json", b"\xff", "stdout is no JSON: '\ufffd'"),
    ("json=a", b'{"a": null}', ""),
    ("json=a,b", b'{"a": 1}', "stdout has no 'b': '{\"a\": 1}'"),
    ("json=a.b", b'{"a": {"b": 1}}', ""),
    ("json=a.b", b'{"a.b": 1}', ""),
    ("json=a.b", b'{"a": 3}', "stdout has no 'a.b': '{\"a\": 3}'"),
    ("json=a", b'[{"a": 1}, {"a": 2}]', ""),
    ("json=a", b'[{"a": 1}, {"b": 2}]', "stdout has no 'a': '[{\"a\": 1}, {\"b\": 2}]'"),
    ("json=a", b'{"a": 1}\n{"b": 1}\n', "stdout has no 'a': '{\"a\": 1} {\"b\": 1}'"),
    ("json=a", b"[]", "stdout has no 'a': '[]'"),
]


@pytest.mark.parametrize(("text", "stdout", "expected"), CASES)
def test_stdout_is_checked(world: World, text: str, stdout: bytes, expected: str) -> None:
    assert reason(world, world.task(stdout=stdout), text) == expected


def test_large_stdout_is_checked_as_small_is(world: World) -> None:
    result = world.task(stdout=b"line\n" * 500_000 + b"last")
    assert reason(world, result, "lines=500001", "nonempty", "size>=2M") == ""
    assert reason(world, result, "lines=500000") == ("stdout has 500001 lines instead of 500000")


def test_a_check_may_look_at_a_declared_file(world: World) -> None:
    world.names = ("T",)
    world.declares("out-{T}.csv", "empty.txt")
    result = world.task("1", files={"out-1.csv": b"a\nb\n", "empty.txt": b""})
    assert reason(world, result, "out-{T}.csv:lines=2", "out-*.csv:matches=^b") == ""
    assert reason(world, result, "out-{T}.csv:lines=3") == ("out-{T}.csv has 2 lines instead of 3")
    assert reason(world, result, "empty.txt:nonempty") == "empty.txt is empty"
    assert reason(world, result, "stderr:nonempty") == "stderr is empty"


def test_all_declared_files_may_be_asked_to_hold_something(world: World) -> None:
    world.declares("a", "b", "c")
    result = world.task(files={"a": b"", "b": b"x", "c": b""})
    assert reason(world, result, "files") == "a, c are empty"
    assert reason(world, world.task(files={"a": b"1"}), "files") == ""


def test_the_first_check_that_is_not_passed_is_named(world: World) -> None:
    assert reason(world, world.task(stdout=b"x"), "nonempty", "lines=2", "json") == (
        "stdout has 1 line instead of 2"
    )


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("nonemty", "did you mean nonempty?"),
        ("line=1", "did you mean lines=1?"),
        ("size=3", "did you mean size>=1K?"),
        ("lines=x", "lines=1"),
        ("lines=", "lines=1"),
        ("size>=big", "64K"),
        ("matches=(", "backslash"),
        ("json=", "did you mean json?"),
        ("x:files", "did you mean files?"),
        ("", "one of: nonempty"),
        ("check.py", "one of: nonempty"),
    ],
)
def test_what_is_no_check_is_told_with_the_way_out(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        checks.read(text)
    assert hint in (caught.value.hint or "")


def test_bytes_that_cannot_be_read_give_no_verdict(world: World) -> None:
    result = world.task(stdout=b"x" * 100_000)
    (world.blobs / result.stdout.sha256).unlink()
    with pytest.raises(NoVerdictError, match="lines=1: "):
        reason(world, result, "lines=1")
    world.blob(b"x")
    (world.blobs / result.stdout.sha256).write_bytes(b"short")
    with pytest.raises(NoVerdictError, match="damaged"):
        reason(world, result, "lines=1")


def test_json_that_does_not_fit_into_memory_gives_no_verdict(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "JSON_LIMIT", 10)
    with pytest.raises(NoVerdictError, match="too many"):
        reason(world, world.task(stdout=b"[" + b" " * 20 + b"]"), "json")


# ------------------------------------------------------------------- the user's own program


@pytest.fixture
def program(world: World, tmp_path: Path) -> Any:
    """Write ./check.py."""
    world.folder = str(tmp_path)

    def write(text: str, first: str = "#!/usr/bin/env python3") -> None:
        path = tmp_path / "check.py"
        path.write_text(f"{first}\n{text}\n")
        path.chmod(0o755)

    return write


READ = "import json, sys; told = json.loads(sys.stdin.readline())\n"


def test_a_program_gets_parameters_and_paths(world: World, program: Any) -> None:
    world.names = ("T",)
    world.declares("out.txt")
    program(
        READ + "print(told['parameters'], told['rep'], open(told['stdout']).read(),"
        " open(told['stderr']).read(), open(told['files']['out.txt']).read()); sys.exit(1)"
    )
    result = world.task("1.5", rep=2, stdout=b"out", stderr=b"err", files={"out.txt": b"file"})
    assert reason(world, result, "./check.py") == "./check.py: {'T': '1.5'} 2 out err file"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("print('fine')", ""),
        ("raise SystemExit(1)", "./check.py says no"),
        ("print('too cold'); raise SystemExit(1)", "./check.py: too cold"),
        ("raise SystemExit('too hot')", "./check.py: too hot"),
    ],
)
def test_a_program_says_yes_or_no(world: World, program: Any, text: str, expected: str) -> None:
    program(text)
    assert reason(world, world.task(), "./check.py") == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise ValueError('bug')", "exit 1: ValueError: bug"),
        ("raise SystemExit(2)", "exit 2"),
        ("import os; os.kill(os.getpid(), 11)", "signal 11"),
        ("print('half'); import os; os.abort()", "signal 6"),
        ("x = bytearray(6 << 30)", "MemoryError"),
    ],
)
def test_a_crash_is_no_verdict(world: World, program: Any, text: str, said: str) -> None:
    program(text)
    with pytest.raises(NoVerdictError, match=said):
        reason(world, world.task(), "./check.py")


def test_a_hang_is_no_verdict(world: World, program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "PROGRAM_LIMIT_S", 0.3)
    program("import time; time.sleep(600)")
    with pytest.raises(NoVerdictError, match="said nothing within"):
        reason(world, world.task(), "./check.py")


def test_a_program_that_is_gone_is_no_verdict(world: World, tmp_path: Path) -> None:
    world.folder = str(tmp_path)
    with pytest.raises(NoVerdictError, match="there is no such program"):
        reason(world, world.task(), "./check.py")


def test_a_program_is_stopped_when_nobody_waits_any_more(world: World, program: Any) -> None:
    program("import time; time.sleep(600)")
    stop = threading.Event()
    stop.set()
    with pytest.raises(NoVerdictError, match="was stopped"):
        reason(world, world.task(), "./check.py", stop=stop)


def test_a_program_is_asked_last(world: World, program: Any) -> None:
    program("raise ValueError")
    assert reason(world, world.task(), "./check.py", "nonempty") == "stdout is empty"
