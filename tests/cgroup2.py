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
import threading
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
    own = [f"mem={MEMORY}", f"uml_dir={folder}/"]
    process = subprocess.Popen(
        [kernel, *own, *root, *consoles],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(folder)},  # its memory is a file there
        start_new_session=True,
        text=True,
    )
    deadline = threading.Timer(BOOT_S, _end, [process])
    deadline.start()
    try:
        return _follow(process)
    finally:
        deadline.cancel()
        _end(process)


def _follow(process: subprocess.Popen[str]) -> int:
    """Show what the kernel says; give the exit code of the tests, 1 if it ended without any."""
    assert process.stdout is not None
    code = 1
    for line in process.stdout:
        print(line.rstrip(), flush=True)
        if line.startswith(ENDED):
            code = int(line.removeprefix(ENDED))
    return code


def _end(process: subprocess.Popen[str]) -> None:
    """End the kernel with all its processes, if it has not powered itself off."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


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
