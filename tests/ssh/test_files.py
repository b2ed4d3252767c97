"""What travels to hosts and back: once per host, whole, with its mode, under no hostile name."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.ssh.logins import logins
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from tests.support.corral import Corral
    from tests.support.hosts import Bed

pytestmark = [
    pytest.mark.system("sshd"),
    pytest.mark.system("root"),
    pytest.mark.timeout(60),  # several commands with logins each, on a machine that is shared
]

MB = 1 << 20
MOST_KB = 100 * 1024  # peak memory of any process of ours


@pytest.fixture
def remote(corral: Corral, farm: Bed) -> Corral:
    """The command line, which reaches the farm's hosts."""
    corral.environment["CORRAL_SSH"] = farm.ssh
    return corral


def test_a_file_is_shipped_once_per_host_whatever_its_names(remote: Corral, farm: Bed) -> None:
    data = os.urandom(3 * MB)
    for name in ("one.bin", "two.bin"):
        remote.write(name, data)
    count = "ls $CORRAL_FOLDER/cas | wc -l"
    remote(
        "run", "-w", "h[1-2]", "-j2",
        f"sleep 0.05; cat {{<one.bin}} {{<two.bin}} | sha256sum; {count}; true {{1..12}}",
    )  # fmt: skip
    digest = hashlib.sha256(data * 2).hexdigest()
    assert remote.output("sleep").split("\n")[:-1] == [f"{digest}  -", "1"] * 12


def test_declared_files_come_home_with_their_modes(remote: Corral) -> None:
    remote.write("tool", "#!/bin/sh\necho made by a tool > out.txt; chmod 750 out.txt\n")
    (remote.folder / "tool").chmod(0o755)
    remote("run", "-w", "h[1-2]", "sleep 0.05; ./tool {<tool} {n=1..4} {>out.txt}")
    for task in "1234":
        out = remote.results("sleep") / "files" / task / "out.txt"
        assert out.read_text() == "made by a tool\n"
        assert out.stat().st_mode & 0o777 == 0o750


HOSTILE = {
    "link out": "ln -s /etc/passwd out/bad",
    "link to a folder": "ln -s /etc out/bad",
    "fifo": "mkfifo out/bad",
    "newline": "echo x > 'out/bad\nbad'",
    "escape": "echo x > \"out/$(printf 'bad\\033[31mbad')\"",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_names_do_not_come_home(remote: Corral, case: str) -> None:
    remote(
        "run", "-w", "h1", f"mkdir out; {HOSTILE[case]}; echo y > out/good; true {{n=1}} {{>out/}}"
    )
    files = remote.results("mkdir") / "files"
    assert [path.name for path in files.rglob("*") if not path.is_dir()] == ["good"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ln -s /etc/passwd z", "z is missing: z leads out of the task's folder"),
        ("mkfifo z", "z is missing: z is not a regular file"),
        ("true", "z is missing"),
    ],
)
def test_the_reason_says_what_is_wrong_with_an_output(
    remote: Corral, line: str, reason: str
) -> None:
    """Bug: what is there and may not come home was only called missing."""
    remote("run", "--name", "x", "-w", "h1", f"{line}; true {{n=1}} {{>z}}", code=1)
    assert [row["reason"] for row in remote.rows("x", "failed.csv")] == [reason]


def test_no_declared_path_leads_out_of_the_folder(remote: Corral) -> None:
    done = remote("run", "-w", "h1", "touch {n=1} {>../x}", code=2)
    assert "../x" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(240)  # a quarter of a gigabyte, encrypted and hashed, on a shared machine
def test_a_large_result_is_streamed_in_little_memory(remote: Corral, farm: Bed) -> None:
    size = int(os.environ.get("CORRAL_TEST_LARGE_MB", "256"))
    process = remote.start(
        "run", "-w", "h1",
        f"head -c {size * MB} /dev/urandom > {{>big.bin}}; sha256sum big.bin {{n=1}}; sha256sum big.bin",
    )  # fmt: skip
    peaks: dict[str, int] = {}
    wait_until(lambda: process.poll() is not None or watch(peaks, process.pid, farm), seconds=200)
    process.communicate()
    remote("collect")
    big = remote.results("head") / "files" / "1" / "big.bin"
    with big.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    assert big.stat().st_size == size * MB
    assert digest in remote.output("head")
    assert {"master", "corral-link", "corral-super", "corral-relay"} <= set(peaks)
    assert max(peaks.values()) < MOST_KB, peaks


def watch(peaks: dict[str, int], master: int, farm: Bed) -> bool:
    """Note the peak memory of each process of ours so far; gives False: it is not over."""
    ours = {one.pid: one.name for one in farm["h1"].ours() if one.name.startswith("corral")}
    for pid, name in {master: "master", **ours}.items():
        peaks[name] = max(peaks.get(name, 0), peak_kb(pid))
    return False


def peak_kb(pid: int) -> int:
    """Give a process's peak memory; 0 once it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if "VmHWM" in line), 0)


def test_a_cut_upload_goes_on_where_it_was(remote: Corral, farm: Bed) -> None:
    """The login dies with the upload half done; what the master has is not sent again."""
    size = 64 * MB
    process = remote.start(
        "run", "-w", "h1",
        f"head -c {size} /dev/urandom > {{>big.bin}}; sha256sum big.bin {{n=1}}; sha256sum big.bin",
    )  # fmt: skip
    wait_until(lambda: half_way(remote) > 4 * MB, seconds=30, what="the upload is under way")
    for client in logins(farm):
        os.kill(client, signal.SIGKILL)
    had = half_way(remote)
    assert 0 < had < size, "it was too quick to be cut"
    later: set[int] = set()

    def is_over() -> bool:
        later.add(half_way(remote))
        return process.poll() is not None

    wait_until(is_over, seconds=40)
    process.communicate()
    assert process.returncode == 0
    assert min(later) >= had
    big = remote.results("head") / "files" / "1" / "big.bin"
    assert hashlib.sha256(big.read_bytes()).hexdigest() in remote.output("head")
    assert [row["attempt"] for row in remote.rows("head")] == ["1"]


def half_way(remote: Corral) -> int:
    """Say how much of the largest upload under way the master has on disk."""
    folder = remote.folder / ".corral" / "blobs"
    sizes = [0]
    for path in folder.rglob("*"):
        try:
            sizes.append(path.stat().st_size if path.is_file() else 0)
        except FileNotFoundError:
            continue
    return max(sizes)
