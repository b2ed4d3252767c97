"""Where do peers live that are Python packages, and what can this machine share with test hosts?

A peer has a virtual environment of its own, made once and kept. It lies outside the tree, in a
folder that test hosts see too: their home, /tmp and /var/tmp are their own.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import corral

if TYPE_CHECKING:
    from collections.abc import Generator

SET_UP_S = 300.0
ROOTS = Path("/var/cache")
READY = "ready"  # lies in an environment that is whole


class SetUpError(Exception):
    """A peer cannot be had on this machine."""


def environment(name: str, *packages: str) -> Path:
    """Give the Python of an environment with these packages.

    Raises:
        SetUpError: They cannot be installed.
    """
    home = _cache() / name
    python = home / "bin" / "python"
    if (home / READY).exists():
        return python
    words = [str(python), "-m", "pip", "install", "--quiet", *packages]
    try:
        venv.create(home, with_pip=True, clear=True)
        subprocess.run(words, check=True, capture_output=True, timeout=SET_UP_S)
    except (subprocess.SubprocessError, OSError) as error:
        raise SetUpError(f"cannot install it ({error})"[:60]) from error
    (home / READY).touch()
    return python


@functools.cache
def installed() -> dict[str, str]:
    """Give the environment in which corral finds itself compiled, as a program that is installed does.

    The bytecode lies in the folder too: a tree that is worked in may not be written to
    (PYTHONDONTWRITEBYTECODE), and then every command would compile all of corral first.
    """
    env = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = str(_cache() / "bytecode")
    package = Path(corral.__file__).parent
    words = [sys.executable, "-m", "compileall", "-q", str(package)]
    subprocess.run(words, env=env, check=True, timeout=SET_UP_S)
    return env


@contextmanager
def shared_folder() -> Generator[Path]:
    """Lend a folder that is seen here and on every test host, and remove it."""
    folder = Path(tempfile.mkdtemp(prefix="shared-", dir=_cache()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _cache() -> Path:
    """Give the folder; with namespaces of their own (root) hosts have another home."""
    above = ROOTS if os.geteuid() == 0 else Path.home() / ".cache"
    folder = above / "corral-benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
