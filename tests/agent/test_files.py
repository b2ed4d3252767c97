"""Files both ways: shipped ones are linked, written ones come home, links out of the folder do not."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from corral import protocol
from tests.agent.conftest import Bed, lease
from tests.agent.support import pythons, wait_until

FILE = protocol.Output(name="out.txt")


def received(bed: Bed, report: protocol.Report, n: int) -> bytes:
    """Give the bytes of a file that came home, checked against the report."""
    data = bytes(bed.master.files[report.ticket, n])
    if n < 2:
        facts: protocol.Stream | protocol.OutputFile = (report.stdout, report.stderr)[n]
    else:
        facts = next(file for file in report.files if file.n == n)
    assert facts.size == len(data)
    assert facts.sha256 == hashlib.sha256(data).hexdigest()
    return data


@pytest.mark.parametrize("python", [pythons()[0], pythons()[-1]], ids=["oldest", "newest"])
def test_large_streams_are_uploaded(bed: Bed, python: str) -> None:
    bed.python = python
    bed.start()
    line = "seq 400000; head -c 65537 /dev/zero >&2"
    [report] = bed.run(lease(1, line=line))
    assert received(bed, report, 0) == b"".join(b"%d\n" % n for n in range(1, 400001))
    assert received(bed, report, 1) == bytes(65537)
    assert report.stdout.inline == b""
    wait_until(lambda: not list((bed.folder / "spool").glob("1-*")), 5, "the spool stays")


def test_large_stdout_of_a_failed_task_comes_home_without_files(bed: Bed) -> None:
    bed.start()
    line = "head -c 100000 /dev/zero; echo x > out.txt; exit 1"
    [report] = bed.run(lease(1, line=line, outputs=(FILE,)))
    assert (report.exit, report.files) == (1, ())
    assert received(bed, report, 0) == bytes(100000)


def test_declared_outputs_come_home(bed: Bed) -> None:
    outputs = (
        protocol.Output(name="out/sim.txt"),
        protocol.Output(name="part-*.dat", kind="glob"),
        protocol.Output(name="tree", kind="dir"),
        protocol.Output(name="empty"),
    )
    line = (
        "mkdir -p out tree/a/b; echo one > out/sim.txt; chmod 755 out/sim.txt; : > empty;"
        "for i in 2 1; do echo $i > part-$i.dat; done; mkdir part-d.dat;"
        "echo deep > tree/a/b/c; echo top > 'tree/é x'; ln -s /etc tree/etc; mkfifo tree/pipe;"
        "ln -s /etc/passwd tree/link; echo no > other"
    )
    bed.start()
    [report] = bed.run(lease(1, line=line, outputs=outputs))
    assert (report.ended, report.exit, report.message) == ("exited", 0, "")
    home = {file.name: received(bed, report, file.n) for file in report.files}
    assert home == {
        "out/sim.txt": b"one\n",
        "part-1.dat": b"1\n",
        "part-2.dat": b"2\n",
        "tree/a/b/c": b"deep\n",
        "tree/é x": b"top\n",
        "empty": b"",
    }
    assert [file.n for file in report.files] == list(range(2, 8))
    assert report.files[0].mode == 0o755
    [clean] = bed.run(lease(2, "ls", "-A"))
    assert clean.stdout.size == 0


def test_missing_output_is_absent(bed: Bed) -> None:
    globbed = protocol.Output(name="*.dat", kind="glob")
    bed.start()
    [report] = bed.run(lease(1, "true", outputs=(FILE, globbed)))
    assert (report.ended, report.exit, report.files) == ("exited", 0, ())
    assert report.message == ""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("ln -s /etc/passwd out.txt", "leads out of", id="link to a file"),
        pytest.param("ln -s /proc/self/environ out.txt", "leads out of", id="link to proc"),
        pytest.param("ln -s . out.txt", "leads out of", id="link to the folder"),
        pytest.param("mkdir out.txt", "not a regular file", id="folder"),
        pytest.param("mkfifo out.txt", "not a regular file", id="pipe"),
        pytest.param("ln -s nowhere out.txt", "No such file", id="dangling link"),
    ],
)
def test_output_that_is_no_file_of_the_task_is_refused(bed: Bed, line: str, message: str) -> None:
    bed.start()
    [report] = bed.run(lease(1, line=line, outputs=(FILE,)))
    assert report.files == ()
    assert message in report.message
    assert not [key for key in bed.master.files if key[1] >= 2]


@pytest.mark.parametrize(
    "instead",
    [
        pytest.param('ln -s {} "$D"', id="link to a folder"),
        pytest.param(': > "$D"', id="file"),
        pytest.param(":", id="nothing"),
    ],
)
def test_what_a_task_puts_in_place_of_its_folder_is_not_followed(
    bed: Bed, base: Path, instead: str
) -> None:
    """Bug: a link's target lost its permissions, came home, and the next task ran in it."""
    there = base / "there"
    there.mkdir(mode=0o755)
    (there / "out.txt").write_text("not the task's\n")
    bed.master.slots = 1
    bed.start(slots=1)
    line = f'D=$PWD; cd ..; mv "$D" "$D.away"; {instead.format(there)}'
    [report] = bed.run(lease(1, line=line, outputs=(FILE,)))
    assert (report.exit, report.files, report.message) == (0, (), "")
    (there / "out.txt").unlink()
    moved, after = bed.run(lease(2, line=line), lease(3, line="touch x; pwd -P"))
    assert moved.exit == after.exit == 0
    assert after.stdout.inline.startswith(bytes(bed.folder.resolve()))
    assert there.stat().st_mode & 0o777 == 0o755
    assert not list(there.iterdir())
    there.rmdir()


@pytest.mark.parametrize("name", ["/etc/passwd", "../../../../../../etc/passwd", "a/../../x", "."])
def test_output_named_outside_is_refused(bed: Bed, name: str) -> None:
    bed.start()
    [report] = bed.run(lease(1, "true", outputs=(protocol.Output(name=name),)))
    assert report.files == ()
    assert report.message == ""


def test_outputs_of_a_task_that_ran_in_the_users_folder(bed: Bed, base: Path) -> None:
    here = base / "here"
    here.mkdir()
    bed.start()
    [report] = bed.run(lease(1, line="echo hi > out.txt", outputs=(FILE,)), dir=str(here))
    assert received(bed, report, 2) == b"hi\n"
    assert (here / "out.txt").read_bytes() == b"hi\n"  # it stays there
    (here / "out.txt").unlink()
    here.rmdir()


def test_shipped_files_are_linked_once_fetched(bed: Bed) -> None:
    bed.start()
    big = b"x" * (protocol.CHUNK + 17)
    shared = (
        bed.master.ship("sim", b"#!/bin/sh\ncat data/in.txt; wc -c < big\n", 0o755),
        bed.master.ship("big", big),
        bed.master.ship("data/in.txt", b"first\n"),
    )
    own = (bed.master.ship("own", b"mine\n"), bed.master.ship("nothing", b""))
    reports = bed.run(
        *(lease(n, "./sim") for n in range(4)),
        lease(4, line="cat own nothing; ls -A; test -x sim; test ! -x own", inputs=own),
        inputs=shared,
    )
    for report in reports[:4]:
        assert report.stdout.inline.split() == [b"first", str(len(big)).encode()], report
    assert reports[4].stdout.inline.split() == [
        b"mine",
        b"big",
        b"data",
        b"nothing",
        b"own",
        b"sim",
    ]
    assert sorted(bed.master.fetched) == sorted(i.sha256 for i in (*shared, own[0]))
    assert reports[4].exit == 0


def test_altered_input_is_fetched_again(bed: Bed) -> None:
    bed.master.slots = 1
    bed.start(slots=1)
    inputs = (bed.master.ship("data", b"good\n"),)
    spoil, after = bed.run(
        lease(1, line="chmod 644 data; echo bad > data; cat data"),
        lease(2, line="cat data"),
        inputs=inputs,
    )
    assert (spoil.stdout.inline, after.stdout.inline) == (b"bad\n", b"good\n")
    assert len(bed.master.fetched) == 2


def test_input_that_tasks_write_into_is_copied_once_it_was_altered(bed: Bed) -> None:
    """Bug: it was fetched anew for every task, and tasks beside one another shared its bytes."""
    bed.master.slots = 1
    bed.start(slots=1)
    inputs = (bed.master.ship("data", b"good\n"), bed.master.ship("sub/more", b"fine\n"))
    line = "cat data sub/more; chmod 644 data sub/more; echo bad > data; echo bad > sub/more"
    reports = bed.run(*(lease(n, line=line) for n in range(1, 7)), inputs=inputs)
    assert [report.stdout.inline for report in reports] == [b"good\nfine\n"] * 6
    assert len(bed.master.fetched) == 4


def test_replaced_input_is_linked_again(bed: Bed) -> None:
    bed.master.slots = 1
    bed.start(slots=1)
    inputs = (bed.master.ship("data", b"good\n"),)
    spoil, after = bed.run(
        lease(1, line="rm -f data; echo bad > data"),
        lease(2, line="cat data; ls -A"),
        inputs=inputs,
    )
    assert (spoil.exit, after.stdout.inline) == (0, b"good\ndata\n")
    assert len(bed.master.fetched) == 1


@pytest.mark.parametrize("wrong", ["absent", "other bytes", "longer"])
def test_input_that_cannot_be_had_fails_its_tasks(bed: Bed, wrong: str) -> None:
    bed.start()
    item = bed.master.ship("data", b"good\n")
    if wrong == "absent":
        del bed.master.blobs[item.sha256]
    else:
        bed.master.blobs[item.sha256] = {"other bytes": b"evil\n", "longer": b"good\nx"}[wrong]
    failed, fine = bed.run(lease(1, "true", inputs=(item,)), lease(2, "true"))
    assert (failed.ended, failed.kind) == ("failed", "env")
    assert "cannot fetch data" in failed.message
    assert fine.exit == 0
    assert len(bed.master.fetched) == 3


@pytest.mark.parametrize("path", ["/abs", "../up", "a/../../b"])
def test_input_is_never_put_outside_the_folder(bed: Bed, path: str) -> None:
    bed.start()
    [report] = bed.run(lease(1, "true", inputs=(bed.master.ship(path, b"x"),)))
    assert (report.ended, report.kind) == ("failed", "env")


def test_cut_upload_goes_on_where_it_ended(bed: Bed) -> None:
    bed.master.cut_upload_at = protocol.CHUNK
    bed.start()
    [report] = bed.run(lease(1, line="head -c 3000000 /dev/zero"))
    assert received(bed, report, 0) == bytes(3000000)
    offsets = [offset for _, _, offset in bed.master.uploads]
    assert offsets == [0, protocol.CHUNK, 2 * protocol.CHUNK]


def test_part_that_the_master_has_is_not_sent_again(bed: Bed) -> None:
    data = b"".join(b"%d\n" % n for n in range(1, 400001))
    bed.master.files["1-1-1-1", 0] = bytearray(data[:2000000])
    bed.start()
    [report] = bed.run(lease(1, line="seq 400000"))
    assert received(bed, report, 0) == data
    assert [offset for _, _, offset in bed.master.uploads] == [0, 2000000]


def test_upload_asked_for_again_starts_from_nothing(bed: Bed) -> None:
    bed.master.upload_again = {"1-1-1-1"}
    bed.start()
    bed.run(lease(1, line="seq 20000; echo x > out.txt", outputs=(FILE,)))
    wait_until(lambda: "1-1-1-1" in bed.master.repeated, 5, "not reported again")
    report = bed.master.reports["1-1-1-1"]
    assert received(bed, report, 0) == b"".join(b"%d\n" % n for n in range(1, 20001))
    assert received(bed, report, 2) == b"x\n"
    assert [offset for _, n, offset in bed.master.uploads if n == 2] == [0, 0]


def test_nothing_more_is_sent_of_what_is_not_wanted_any_more(bed: Bed) -> None:
    """Bug: it was told as a success, and taken as one that had written nothing."""
    bed.master.no_room_from = 3 * protocol.CHUNK
    bed.start()
    bed.give(lease(1, line="head -c 8000000 /dev/zero; echo x > out.txt", outputs=(FILE,)))
    wait_until(lambda: len(bed.master.uploads) > 3)
    bed.master.change(kill={"1-1-1-1"})
    report = bed.master.report("1-1-1-1")
    assert (report.ended, report.exit, report.files) == ("killed", 0, ())
    assert report.stdout == protocol.Stream()
    assert report.message == "not sent, for it is not wanted any more"
    wait_until(lambda: not list((bed.folder / "spool").glob("1-*")))


def test_exchanges_go_on_during_an_upload(bed: Bed) -> None:
    bed.master.hold_s = 0.02
    bed.start()
    bed.give(lease(1, line="head -c 60000000 /dev/zero"))
    report = bed.master.report("1-1-1-1")
    assert report.stdout.size == 60000000
    assert len(bed.master.uploads) == 58
    assert bed.master.asked_before[57] > bed.master.asked_before[5] + 1


@pytest.mark.timeout(120)  # a quarter of a gigabyte, hashed, on a shared machine
def test_memory_stays_small_with_a_large_file(bed: Bed) -> None:
    bed.start()
    code = "f = open('out.txt', 'wb'); [f.write(bytes(1 << 20)) for _ in range(256)]"
    [report] = bed.run(lease(1, sys.executable, "-c", code, outputs=(FILE,)), seconds=90)
    assert report.files[0].size == 256 << 20
    for pid in (bed.link, bed.supervisor):
        status = Path(f"/proc/{pid}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        assert int(peak.split()[1]) < 100 << 10


def test_what_has_lost_its_output_is_no_success(bed: Bed) -> None:
    """Bug: something swept /var/tmp, and it was taken as a success that had written nothing."""
    bed.master.no_room_from = 0
    bed.start()
    bed.give(lease(1, line="seq 20000"))
    wait_until(lambda: bed.master.uploads)
    for stream in (bed.folder / "spool" / "1-1-1-1").iterdir():
        stream.unlink()
    bed.master.no_room_from = None
    report = bed.master.report("1-1-1-1")
    assert (report.ended, report.kind) == ("failed", "env")
    assert "cannot read stdout" in report.message
