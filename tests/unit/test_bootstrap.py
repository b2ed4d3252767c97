"""Does the remote command mean the same to every shell, and find the right Python?"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import MAGIC_NUMBER
from typing import TYPE_CHECKING

import pytest

from corral.errors import UsageError
from corral.fleet import bootstrap
from corral.fleet.bootstrap import Payload
from tests import parts

if TYPE_CHECKING:
    from pathlib import Path

SHELLS = [
    name
    for name in ("sh", "dash", "bash", "zsh", "ksh", "tcsh", "csh", "fish")
    if shutil.which(name)
]
SOURCE = b"import sys; print(sys.argv[1:], __name__, sys.stdin.readline())"  # what is shipped here


def run(
    command: str, *, shell: str = "sh", stdin: bytes = b"", home: Path | None = None, path: str = ""
) -> subprocess.CompletedProcess[bytes]:
    """Run the remote command as sshd does: the login shell with -c."""
    return subprocess.run(
        [str(shutil.which(shell)), "-c", command],
        env={"PATH": path or os.environ["PATH"], "HOME": str(home or "/nonexistent")},
        input=stdin,
        capture_output=True,
        check=False,
    )


def shipped(source: bytes, words: bytes) -> bytes:
    return b"%d\n" % len(source) + source + words


def python(folder: Path, name: str, script: str) -> Path:
    """Put a program called as a Python into a folder."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_runs_the_program_with_what_follows_on_stdin(shell: str) -> None:
    command = bootstrap.command(sys.executable, "join")
    done = run(command, shell=shell, stdin=shipped(SOURCE, b"words\n"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == bootstrap.SHELL
    assert done.stdout.splitlines()[1:] == [b"['join'] __main__ words", b""]


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_says_that_there_is_no_python(shell: str) -> None:
    done = run(bootstrap.command("/nonexistent/python3", "join"), shell=shell)
    assert done.stdout.splitlines() == [bootstrap.SHELL, bootstrap.NO_PYTHON]


def test_the_command_can_be_quoted_for_every_shell() -> None:
    command = bootstrap.command(None, "join")
    assert command.startswith("exec sh -c '")
    assert command.endswith("'")
    assert not set("'!\\\n") & set(command.removeprefix("exec sh -c '")[:-1])


@pytest.mark.parametrize("path", ["a b", "x;y", "'", "$(x)", "a\nb", "", "x'y", "!", "*"])
def test_a_path_that_some_shell_would_read_otherwise_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="no plain path"):
        bootstrap.command(path, "join")


def test_a_python_that_is_too_old_is_passed_over_and_named(tmp_path: Path) -> None:
    old = python(tmp_path / "old", "python3", "exit 9")
    new = python(tmp_path / "new", "python3", f'exec {sys.executable} "$@"')
    both = bootstrap.command(None, "join").replace(
        bootstrap.PYTHONS, f"{old} {tmp_path}/none/python3 {new}"
    )
    done = run(both, stdin=shipped(SOURCE, b"words\n"))
    assert b"__main__ words" in done.stdout
    alone = run(both.replace(str(new), ""))
    assert alone.stdout.splitlines()[-1] == bootstrap.NO_PYTHON + b" " + str(old).encode()


def test_a_python_without_zlib_is_passed_over_too(tmp_path: Path) -> None:
    """Bug: it read the program and could not unpack it; the host was tried again without end."""
    without = f"exec {sys.executable} $1 $2 $3 \"import sys; sys.modules['zlib'] = None; $4\" $5"
    poor = python(tmp_path / "poor", "python3", without)
    good = python(tmp_path / "good", "python3", f'exec {sys.executable} "$@"')
    command = bootstrap.command(None, "join").replace(bootstrap.PYTHONS, f"{poor} {good}")
    done = run(command, stdin=shipped(SOURCE, b"words\n"))
    assert b"['join'] __main__ words" in done.stdout
    alone = run(command.replace(str(good), ""))
    assert alone.stdout.splitlines()[-1] == bootstrap.NO_PYTHON + b" " + str(poor).encode()


def test_a_python_is_looked_for_in_the_usual_places(tmp_path: Path) -> None:
    python(tmp_path, "sh", 'exec /bin/sh "$@"')
    places = " ".join(place for place in bootstrap.PYTHONS.split() if place.startswith("~"))
    only_home = bootstrap.command(None, "join").replace(bootstrap.PYTHONS, places)
    conda = tmp_path / "miniconda3" / "bin"
    conda.mkdir(parents=True)
    python(conda, "python3", f'exec {sys.executable} "$@"')
    done = run(only_home, stdin=shipped(SOURCE, b"words\n"), home=tmp_path)
    assert b"__main__ words" in done.stdout


def test_the_programs_own_end_is_the_commands(tmp_path: Path) -> None:
    second = python(tmp_path / "second", "python3", "echo never")
    command = bootstrap.command(None, "join").replace(
        bootstrap.PYTHONS, f"{sys.executable} {second}"
    )
    done = run(command, stdin=shipped(b"import sys; sys.exit(5)", b""))
    assert done.returncode == 5
    assert b"never" not in done.stdout


def test_the_mark_is_nothing_that_an_echo_could_say() -> None:
    one, other = Payload({"owner": "o"}), Payload({"owner": "o"})
    assert one.mark != other.mark
    assert one.mark not in one.whole()
    assert one.whole().endswith(one.line())


@pytest.mark.parametrize("path", parts.pythons(), ids=lambda path: path.rpartition("/")[2])
def test_every_python_runs_what_is_sent(path: str, tmp_path: Path) -> None:
    payload = Payload({"owner": "o", "incarnation": "i", "workdir": str(tmp_path)})
    done = run(bootstrap.command(path, "check"), stdin=payload.whole(), home=tmp_path)
    assert payload.mark in done.stdout, done.stderr
    said = json.loads(done.stdout.rpartition(payload.mark)[2])
    assert path.rpartition("/python")[2] == ".".join(said["facts"]["python"].split(".")[:2])
    assert list(tmp_path.iterdir()) == []


def test_a_python_of_another_kind_compiles_the_source(tmp_path: Path) -> None:
    payload = Payload({"owner": "o", "incarnation": "i", "workdir": str(tmp_path)})
    sent = payload.whole().replace(MAGIC_NUMBER.hex().encode(), b"0" * 8, 1)
    done = run(bootstrap.command(sys.executable, "check"), stdin=sent, home=tmp_path)
    assert payload.mark in done.stdout, done.stderr


def test_secrets_are_not_in_the_command() -> None:
    assert "key" not in bootstrap.command(None, "join")
