"""``python -m tests.cgroup2``: do control groups of version 2 hold tasks to their memory?

Few machines let a test divide their own groups of version 2. So this boots a kernel that has
nothing else, as a process of ours (user-mode Linux) that sees this machine's files and may not
write to them; as its first process this file mounts what is needed and runs the agent's tests.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import parts

BOOT_S = 900.0  # it boots in three seconds; system calls are slow there, so the tests take minutes
MEMORY = "1G"
TESTS = ("tests/agent/test_groups.py", "tests/agent/test_memory.py")
ENDED = "cgroup2: tests ended with "  # the last line of what the kernel prints for us
MOUNTS = (
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("tmpfs", "/run"),
)


def main() -> int:
    """Boot, show what the tests say, and end as they did."""
    kernel = parts.find("linux.uml")
    if kernel is None:
        print("missing: user-mode Linux; try: apt-get install user-mode-linux")
        return 2
    with tempfile.TemporaryDirectory(prefix="cgroup2-") as folder:
        return _boot(kernel, Path(folder))


def _boot(kernel: str, folder: Path) -> int:
    init = folder / "init"
    project = Path(__file__).parents[1]
    init.write_text(
        f'#!/bin/sh\ncd "{project}" && exec "{sys.executable}" -B -m tests.cgroup2 init\n'
    )
    init.chmod(0o755)
    root = ["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", f"init={init}"]
    consoles = ["con=null", "con0=null,fd:1", "loglevel=0"]
    last = ""
    process = subprocess.Popen(
        [kernel, f"mem={MEMORY}", *root, *consoles],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(folder)},  # its memory is a file there
        start_new_session=True,
        text=True,
    )
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(process.pid, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, BOOT_S)
    assert process.stdout is not None
    for line in process.stdout:
        print(line.rstrip())
        last = line.strip() if line.startswith(ENDED) else last
    process.wait()
    signal.setitimer(signal.ITIMER_REAL, 0)
    return int(last.removeprefix(ENDED)) if last else 1


def init() -> int:
    """Be the first process of that kernel; it ends with all of it."""
    os.environ.update(PATH="/usr/sbin:/usr/bin:/sbin:/bin", TMPDIR="/run", HOME="/run")
    for kind, place in MOUNTS:
        subprocess.run(["mount", "-t", kind, kind, place], check=True)
    Path("/sys/fs/cgroup/cgroup.subtree_control").write_text("+memory")
    words = ["-q", "-rs", "--color=no", "-p", "no:cacheprovider", "--durations=8"]
    command = [sys.executable, "-B", "-m", "pytest", *words, *TESTS]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
    print(f"{ENDED}{done.returncode}", flush=True)
    Path("/proc/sysrq-trigger").write_text("o")
    signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(init() if sys.argv[1:] == ["init"] else main())
