"""What comes home: large files, modes, patterns, folders; and how much memory that takes."""

from __future__ import annotations

import hashlib
import os
import pty
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.wait import wait_until

if TYPE_CHECKING:
    from tests.support.corral import Corral

pytestmark = pytest.mark.timeout(60)  # several commands each, on a machine that is shared
MB = 1 << 20


def test_patterns_and_folders_come_home_with_their_modes(corral: Corral) -> None:
    corral(
        "run",
        "mkdir -p deep/er && echo 1 > deep/er/x && echo 2 > deep/y && chmod 755 deep/y"
        " && for i in a b; do echo $i > part-$i.dat; done && true {>part-*.dat} {>deep/} {n=1,2}",
    )
    for task in "12":
        files = corral.results("mkdir") / "files" / task
        found = sorted(str(p.relative_to(files)) for p in files.rglob("*") if p.is_file())
        assert found == ["deep/er/x", "deep/y", "part-a.dat", "part-b.dat"]
        assert (files / "deep" / "y").stat().st_mode & 0o777 == 0o755


def test_a_missing_declared_file_is_a_failure_that_names_it(corral: Corral) -> None:
    corral("run", "test {n=1,2} = 1 && touch {>out.txt} || true", code=1)
    assert [row["reason"] for row in corral.rows("test", "failed.csv")] == ["out.txt is missing"]
    assert [row["outcome"] for row in corral.rows("test", "attempts.csv")] == [
        "accepted",
        "rejected",
    ]


def test_a_link_out_of_the_folder_does_not_come_home(corral: Corral) -> None:
    corral.write("secret", "secret\n")
    corral("run", f"ln -s {corral.folder}/secret {{>out.txt}}; true", code=1)
    assert not list(corral.results("ln").rglob("out.txt"))


def test_large_stdout_and_stderr_come_whole(corral: Corral) -> None:
    corral("run", "seq 1 500000; seq 1 400000 >&2; true {1..2}")
    once = "".join(f"{n}\n" for n in range(1, 500_001))
    assert corral.output("seq") == once * 2
    errors = (corral.results("seq") / "errors.txt").read_text().splitlines()
    assert (len(errors), errors[0], errors[-1]) == (800_000, "1\t1", "2\t400000")


@pytest.mark.slow
@pytest.mark.timeout(180)  # a quarter of a gigabyte, through hashes, twice
def test_a_large_file_is_streamed_in_little_memory(corral: Corral) -> None:
    size = int(os.environ.get("CORRAL_TEST_LARGE_MB", "256"))
    process = corral.start(
        "run",
        f"head -c {size * MB} /dev/urandom > {{>big.bin}}; sha256sum big.bin {{n=1}}; sha256sum big.bin",
    )
    peaks: dict[int, int] = {}
    while process.poll() is None:
        for pid in [process.pid, *corral.processes()]:
            peaks[pid] = max(peaks.get(pid, 0), peak_kb(pid))
        wait_until(lambda: True)
    corral("collect")
    big = corral.results("head") / "files" / "1" / "big.bin"
    digest = hashlib.sha256()
    with big.open("rb") as file:
        while data := file.read(MB):
            digest.update(data)
    assert big.stat().st_size == size * MB
    assert digest.hexdigest() in corral.output("head")
    assert peaks[process.pid] > 0
    assert max(peaks.values()) < 100 * 1024, peaks


def peak_kb(pid: int) -> int:
    """Give a process's peak memory; 0 once it is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            lines = dict(line.split(":", 1) for line in file if ":" in line)
    except OSError:
        return 0
    return int(lines.get("VmHWM", "0 kB").split()[0])


def test_collect_by_a_rule_any_time(corral: Corral) -> None:
    corral("run", "-q", "printf 'a\\nb {n=1..2}'")
    assert corral("collect", "--as", "tagged").stdout == "1\ta\n1\tb 1\n2\ta\n2\tb 2\n"
    assert (
        corral("collect", "--as", "blocks").stdout == "# task 1 n=1\na\nb 1\n# task 2 n=2\na\nb 2\n"
    )
    corral("collect", "-o", "all.txt")
    assert (corral.folder / "all.txt").read_text() == "a\nb 1a\nb 2"


def test_progress_on_a_terminal_is_one_moving_line(corral: Corral) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        corral._words(("run", "sleep 0.{1..5}")),
        cwd=corral.folder,
        env=dict(corral.environment, TERM="xterm", COLUMNS="60"),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        said += piece
    os.close(ours)
    out, _ = process.communicate(timeout=30)
    text = said.decode()
    assert process.returncode == 0
    assert out == b"results/sleep\n"
    assert "\r[" in text
    assert "/5 done" in text
    moving = [part for part in text.split("\r") if part.startswith("[")]
    assert all(len(part.split("\x1b")[0]) <= 60 for part in moving)


def test_two_folders_do_not_know_each_other(corral: Corral) -> None:
    other = type(corral)(corral.folder / "other")
    other.folder.mkdir()
    (other.folder / ".corral").mkdir()
    (other.folder / ".corral" / "secret").write_text("ab" * 32)
    corral("run", "-q", "echo outer")
    other("run", "-q", "echo inner")
    assert [run["words"] for run in corral.json("ls")["runs"]] == [["echo outer"]]
    assert [run["words"] for run in other.json("ls")["runs"]] == [["echo inner"]]
