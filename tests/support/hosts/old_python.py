"""Behave as ``python3`` of version 3.4 does: says so, and refuses what it could not parse.

Started as ``python3 -I -S old_python.py WORDS``; WORDS are what python3 was given.
"""

from __future__ import annotations

import ast
import sys

VERSION = (3, 4, 10)


def main(words: list[str]) -> None:
    """Run ``-c CODE``, a file, or stdin."""
    while words and words[0].startswith("-") and words[0] not in ("-c", "-"):
        if words.pop(0) in ("-V", "--version"):
            print("Python 3.4.10")
            return
    pretend()
    if words and words[0] == "-c":
        source, name, sys.argv = words[1], "<string>", ["-c", *words[2:]]
    elif words and words[0] != "-":
        with open(words[0], encoding="utf-8") as text:
            source, name, sys.argv = text.read(), words[0], words
    else:
        source, name, sys.argv = sys.stdin.read(), "<stdin>", words or [""]
    ast.parse(source, name, feature_version=(3, 4))
    exec(compile(source, name, "exec"), {"__name__": "__main__"})


def pretend() -> None:
    """Say 3.4 wherever a program may ask."""
    sys.version_info = (*VERSION, "final", 0)  # type: ignore[assignment]  # a tuple will do
    sys.hexversion = 0x03040AF0
    sys.version = "3.4.10 (default) [GCC]"


if __name__ == "__main__":
    main(sys.argv[1:])
