"""What a task sees, how its end is reported: real agents under every Python found here."""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from corral import protocol
from tests.agent.conftest import OWNER, Bed, lease
from tests.agent.support import pythons, wait_until

SHOW = "import os, sys; print(sorted((k, v) for k, v in os.environ.items() if k in sys.argv[1:]))"


@pytest.mark.parametrize("python", pythons(), ids=lambda path: Path(path).name)
def test_runs_tasks_under_every_python(bed: Bed, python: str) -> None:
    bed.python = python
    bed.start()
    words, line, failed, missing = bed.run(
        lease(1, "echo", "a  b", "\0slot\0"),
        lease(2, line="echo $CORRAL_TASK; echo é >&2; exit 3"),
        lease(3, line="kill -9 $$"),
        lease(4, "./nosuch"),
    )
    assert (words.ended, words.exit) == ("exited", 0)
    assert words.stdout.inline == b"a  b %d\n" % words.slot
    assert (line.ended, line.exit) == ("exited", 3)
    assert (line.stdout.inline, line.stderr.inline) == (b"2\n", "é\n".encode())
    assert (failed.ended, failed.kind, failed.signal) == ("failed", "signal", 9)
    assert (missing.ended, missing.kind) == ("failed", "spawn")
    assert missing.message == "cannot start ./nosuch: No such file or directory"
    facts = bed.master.facts[0]
    assert facts.protocol == protocol.PROTOCOL
    assert facts.folder == str(bed.folder)
    assert facts.python.startswith(Path(python).name.removeprefix("python"))
    bed.stop()


def test_report_says_how_it_went(bed: Bed) -> None:
    bed.start()
    burn = "x = bytearray(64 << 20); [None for _ in range(10**6)]"
    [report] = bed.run(lease(1, sys.executable, "-c", burn))
    assert 0 < report.cpu_s <= report.seconds * 2
    assert report.seconds < 10
    assert 64 << 10 < report.peak_kb < 200 << 10
    assert report.started > 1.6e9
    assert len(report.digest) == 64


def test_environment_of_a_task(bed: Bed) -> None:
    bed.start(env={"PATH": os.environ["PATH"], "INHERITED": "ä", "PWD": "/nowhere"})
    names = [
        *(
            "CORRAL_" + name
            for name in ["RUN", "TASK", "TASK_COUNT", "ATTEMPT", "TICKET", "HOST", "SLOT"]
        ),
        *("CORRAL_CPUS", "CORRAL_PARAM_T", "CORRAL_PARAM_Größe", "CORRAL_OWNER"),
        *("CORRAL_INCARNATION", "OMP_NUM_THREADS", "INHERITED", "ADDED", "PWD", "LC_CTYPE"),
    ]
    [report] = bed.run(
        lease(7, sys.executable, "-c", SHOW, *names, values=("0.5", "a b")),
        names=("T", "Größe"),
        add={"ADDED": "yes"},
        cpus=2,
    )
    seen = dict(eval(report.stdout.inline.decode()))
    seen.pop("LC_CTYPE", None)  # the task's own Python may have made that up
    assert seen == {
        "CORRAL_RUN": "sim",
        "CORRAL_TASK": "7",
        "CORRAL_TASK_COUNT": "1",
        "CORRAL_ATTEMPT": "1",
        "CORRAL_TICKET": "1-1-7-1",
        "CORRAL_HOST": "testhost",
        "CORRAL_SLOT": "0",
        "CORRAL_CPUS": "2",
        "CORRAL_PARAM_T": "0.5",
        "CORRAL_PARAM_Größe": "a b",
        "CORRAL_OWNER": OWNER,
        "CORRAL_INCARNATION": bed.incarnation,
        "OMP_NUM_THREADS": "2",
        "INHERITED": "ä",
        "ADDED": "yes",
    }


def test_whole_environment_given(bed: Bed) -> None:
    bed.start(env={"PATH": os.environ["PATH"], "INHERITED": "x"})
    env = {"ONLY": "this", "OMP_NUM_THREADS": "5", "CORRAL_TASK": "forged", "CORRAL_PARAM_OLD": "x"}
    given = b"".join(f"{name}={value}\0".encode() for name, value in env.items())
    [report] = bed.run(lease(7, "/usr/bin/env"), env=given)
    seen = dict(line.split("=", 1) for line in report.stdout.inline.decode().splitlines())
    assert seen["ONLY"] == "this"
    assert seen["OMP_NUM_THREADS"] == "5"
    assert seen["CORRAL_TASK"] == "7"
    assert not {"PATH", "INHERITED", "CORRAL_PARAM_OLD"} & set(seen)


def test_program_is_looked_up_on_the_path_of_the_task(bed: Bed, base: Path) -> None:
    tools = base / "tools"
    tools.mkdir()
    (tools / "mytool").write_text("#!/bin/sh\necho mine\n")
    (tools / "mytool").chmod(0o755)
    bed.start()
    [found] = bed.run(lease(1, "mytool"), add={"PATH": f"/nowhere:{tools}:/bin"})
    assert found.stdout.inline == b"mine\n"
    (tools / "mytool").unlink()
    [gone] = bed.run(lease(2, "mytool"), add={"PATH": f"/nowhere:{tools}:/bin"})
    assert (gone.ended, gone.kind) == ("failed", "spawn")
    tools.rmdir()


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        pytest.param(["nosuch-program"], "spawn", "No such file", id="not on PATH"),
        pytest.param(["./data"], "spawn", "Permission denied", id="no exec bit"),
        pytest.param(["./garbage"], "spawn", "Exec format error", id="exec format"),
        pytest.param(["./script"], "spawn", "interpreter", id="no interpreter"),
        pytest.param(["a\0b"], "spawn", "null", id="NUL in a word"),
    ],
)
def test_program_that_does_not_start(bed: Bed, words: list[str], kind: str, message: str) -> None:
    bed.start()
    inputs = (
        bed.master.ship("data", b"text", 0o644),
        bed.master.ship("garbage", b"\x7fnot an ELF", 0o755),
        bed.master.ship("script", b"#!/no/such/interpreter\n", 0o755),
    )
    [report] = bed.run(lease(1, *words), inputs=inputs)
    assert (report.ended, report.kind, report.exit) == ("failed", kind, None)
    assert message in report.message


@pytest.mark.parametrize("code", [126, 127])
def test_shell_line_that_found_no_program_failed_to_start(bed: Bed, code: int) -> None:
    bed.start()
    line, vector = bed.run(lease(1, line=f"exit {code}"), lease(2, "sh", "-c", f"exit {code}"))
    assert (line.ended, line.kind, line.exit) == ("failed", "spawn", code)
    assert (vector.ended, vector.exit) == ("exited", code)


def test_another_shell_runs_the_line(bed: Bed, base: Path) -> None:
    shell = base / "shell"
    shell.write_text('#!/bin/sh\necho "$1|$2|$#"\n')
    shell.chmod(0o755)
    bed.start()
    [report] = bed.run(lease(1, line="a {} \0slot\0"), shell=str(shell))
    assert report.stdout.inline == b"-c|a {} 0|2\n"
    shell.unlink()


def test_folder_that_is_gone_blames_the_environment(bed: Bed, base: Path) -> None:
    bed.start()
    [report] = bed.run(lease(1, "true"), dir=str(base / "nosuch"))
    assert (report.ended, report.kind) == ("failed", "env")
    assert "cannot enter" in report.message


def test_runs_in_the_folder_it_is_told_to(bed: Bed, base: Path) -> None:
    here = base / "here"
    here.mkdir()
    bed.start()
    line = 'pwd; [ "$(umask)" = 0022 ] && echo hi > made'
    os.umask(old := os.umask(0o022))
    [report] = bed.run(lease(1, line=line), dir=str(here))
    assert report.stdout.inline.decode() == f"{here}\n"
    if old == 0o022:
        assert (here / "made").stat().st_mode & 0o777 == 0o644
        (here / "made").unlink()
    here.rmdir()


def test_stdin_is_empty_and_signals_are_default(bed: Bed) -> None:
    bed.start()
    code = (
        "import os, signal, sys\n"
        "print(len(sys.stdin.read()), os.getsid(0) == os.getpid(), sorted(os.listdir('/proc/self/fd')))\n"
        "names = 'SIGHUP SIGINT SIGQUIT SIGTERM SIGCHLD SIGPIPE'.split()\n"
        "status = open('/proc/self/status').read()\n"
        "masks = [int(line.split()[1], 16) for line in status.splitlines() if line[:6] in ('SigBlk', 'SigIgn')]\n"
        "print([name for name in names if any(mask >> getattr(signal, name) - 1 & 1 for mask in masks)])\n"
    )
    [report] = bed.run(lease(1, sys.executable, "-I", "-S", "-c", code))
    # SIGPIPE is ignored by the Python that looks; 3 is what lists /proc/self/fd
    assert report.stdout.inline.decode() == "0 True ['0', '1', '2', '3']\n['SIGPIPE']\n"


def test_hostile_bytes_come_home_as_they_are(bed: Bed) -> None:
    bed.start()
    every = bytes(range(256)) * 16
    code = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 16)"
    report, long = bed.run(
        lease(1, sys.executable, "-c", code),
        lease(2, line="head -c 65536 /dev/zero; printf '\\r\\n\"}\\000' >&2"),
    )
    assert report.stdout.inline == every
    assert long.stdout.inline == bytes(65536)
    assert long.stderr.inline == b'\r\n"}\0'


def test_each_task_has_an_empty_folder_of_its_own(bed: Bed) -> None:
    bed.master.slots = 1
    bed.start(slots=1)
    line = "pwd; ls -A; echo x > f; mkdir -p d/e; chmod 0 d; ln -s / link"
    reports = bed.run(*(lease(n, line=line) for n in range(4)))
    lines = {report.stdout.inline.decode() for report in reports}
    assert len(lines) == 1  # the same folder, and nothing was listed
    assert lines.pop().count("\n") == 1


def test_large_leftovers_go_bit_by_bit(bed: Bed) -> None:
    bed.master.slots = 1
    bed.start(slots=1)
    deep = (
        "import os\n"
        "for i in range(300): open('f%d' % i, 'w').close()\n"
        "for i in range(60):\n    os.mkdir('d' * 100)\n    os.chdir('d' * 100)\n"
    )
    many, after = bed.run(lease(1, sys.executable, "-c", deep), lease(2, "ls", "-A"))
    assert (many.exit, after.exit, after.stdout.size) == (0, 0, 0)
    wait_until(lambda: _is_empty(bed.folder / "trash"), 10, "the trash stays")


def _is_empty(folder: Path) -> bool:
    """Say whether nothing is in a folder; one that is just made anew is looked at again."""
    try:
        return not any(folder.iterdir())
    except FileNotFoundError:
        return False


def test_five_hundred_tiny_tasks(bed: Bed) -> None:
    bed.start()
    leases = [lease(n, "echo", str(n)) for n in range(500)]
    reports = bed.run(*leases, seconds=18)
    assert [int(report.stdout.inline) for report in reports] == list(range(500))
    assert bed.master.repeated == []
    assert len(bed.master.asked) < 200  # they come in batches


def test_limit_of_a_run_on_a_host(bed: Bed) -> None:
    bed.master.slots = 3
    bed.start(slots=3)
    bed.master.give(
        *(lease(n, "sleep", "0.2") for n in range(3)),
        part=protocol.RunPart(run="narrow", slots=1),
        key="narrow",
    )
    bed.master.give(
        *(lease(n, "sleep", "0.2") for n in range(3, 5)),
        part=protocol.RunPart(run="wide"),
        key="wide",
    )
    reports = [bed.master.report(f"1-1-{n}-1") for n in range(5)]
    narrow = sorted((r.started, r.started + r.seconds) for r in reports[:3])
    assert all(a[1] <= b[0] + 0.05 for a, b in pairwise(narrow))
    wide = sorted((r.started, r.started + r.seconds) for r in reports[3:])
    assert wide[0][1] > narrow[0][0]  # it did not wait for the narrow run
    assert wide[1][0] < narrow[1][0] + 0.05


def test_slots_of_the_reply_hold(bed: Bed) -> None:
    bed.start(slots=1)  # the master says two
    reports = bed.run(*(lease(n, "sleep", "0.3") for n in range(4)))
    assert {report.slot for report in reports} == {0, 1}
