"""The agent's one file: what it imports, what it runs on, what it costs."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from corral import protocol
from corral.fleet.bootstrap import Payload
from tests.agent.support import AGENT, agent, pythons, wait_until

if TYPE_CHECKING:
    from tests.agent.conftest import Bed


def test_imports_only_the_standard_library_of_every_python() -> None:
    tree = ast.parse(AGENT.read_text())
    tried = {node for block in ast.walk(tree) if isinstance(block, ast.Try) for node in block.body}
    names = set()
    for node in ast.walk(tree):
        if node in tried:
            continue  # it does without
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(node.module or "")
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names
    costly = {"asyncio", "argparse", "http", "logging", "threading", "subprocess", "socket", "re"}
    assert not names & costly
    for python in pythons():
        command = [python, "-I", "-S", "-c", "import " + ", ".join(sorted(names))]
        subprocess.run(command, check=True)


def test_runs_on_python_3_6_by_its_syntax_and_library() -> None:
    vermin = Path(sys.executable).with_name("vermin")
    command = [str(vermin), "-q", "-t=3.6-", "--violations", "--no-tips", str(AGENT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_shares_its_constants_and_signature_with_the_protocol() -> None:
    own = (agent.PROTOCOL, agent.CHUNK, agent.INLINE, agent.RESULT_BYTES, agent.TAIL_BYTES)
    assert own == (
        protocol.PROTOCOL,
        protocol.CHUNK,
        protocol.INLINE,
        protocol.RESULT,
        protocol.TAIL,
    )
    given = ("request", "PUT", "/a/ü?x=1", 7, b"body")
    assert agent.signature(b"key", *given) == protocol.signature(b"key", *given)


def test_says_its_size(capsys: pytest.CaptureFixture[str]) -> None:
    source = AGENT.read_bytes()
    sent = len(Payload({}).whole())
    with capsys.disabled():
        print(f" agent.py: {len(source)} bytes, {source.count(10)} lines, {sent} sent", end="")
    assert sent < 220_000  # what a login on a slow line may carry


@pytest.mark.parametrize("python", pythons(), ids=lambda path: Path(path).name)
def test_starts_bare_with_an_empty_environment(bed: Bed, python: str) -> None:
    bed.python = python
    bed.start(env={})
    wait_until(lambda: bed.master.facts)


def test_starts_from_compiled_code(bed: Bed, base: Path) -> None:
    """A launcher on the same machine may save the compiling (half of the start)."""
    compiled = base / "agent.pyc"
    code = f"import py_compile; py_compile.compile({str(AGENT)!r}, {str(compiled)!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
    bed.program = compiled
    bed.start()
    wait_until(lambda: bed.master.facts)
    assert (bed.folder / "agent.py").read_bytes() == AGENT.read_bytes()
    compiled.unlink()


def test_ps_shows_corral(bed: Bed) -> None:
    bed.start()
    wait_until(lambda: bed.master.facts)
    for pid, name in ((bed.link, "corral-link"), (bed.supervisor, "corral-super")):
        title = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode()
        assert title.startswith(name)
        assert bed.master.key.hex() not in title
        assert bed.master.key.hex().encode() not in Path(f"/proc/{pid}/environ").read_bytes()


def test_key_is_nowhere_on_disk(bed: Bed) -> None:
    bed.start()
    wait_until(lambda: bed.master.facts)
    files = [path for path in bed.folder.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if bed.master.key.hex().encode() in path.read_bytes()]


def test_both_are_detached_and_their_files_private(bed: Bed) -> None:
    bed.start()
    wait_until(lambda: bed.master.facts)
    for pid in (bed.link, bed.supervisor):
        assert os.getsid(pid) == pid
        fds = {fd.name: str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()}
        assert fds["0"] == "/dev/null"
        assert fds["1"] == fds["2"] == str(bed.folder / "log")
    for path in bed.folder.rglob("*"):
        assert path.is_socket() or path.stat().st_mode & 0o077 == 0, path


def test_costs_little_when_idle(bed: Bed) -> None:
    """Less than 30 MB for both; the processor is used for beats only (hold_s 20 in real life)."""
    bed.master.hold_s = 20.0
    bed.start()
    wait_until(lambda: bed.master.facts)
    pss = 0
    for pid in (bed.link, bed.supervisor):
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        pss += int(next(row for row in rollup.splitlines() if row.startswith("Pss:")).split()[1])
    assert pss < 30 << 10
    wait_until(lambda: asleep(bed.link) and asleep(bed.supervisor))
    before = switches(bed)
    time.sleep(1.0)  # it is the passing of time that is tested: nothing may happen in it
    assert switches(bed) == before


def asleep(pid: int) -> bool:
    """Say whether a process waits."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def switches(bed: Bed) -> int:
    """Count how often the two have been scheduled."""
    total = 0
    for pid in (bed.link, bed.supervisor):
        for row in Path(f"/proc/{pid}/status").read_text().splitlines():
            if row.startswith(("voluntary", "nonvoluntary")):
                total += int(row.split()[1])
    return total
