"""Is a reported result valid?"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from corral.model.task import ResultFile
from corral.protocol import Output
from corral.results import checks

if TYPE_CHECKING:
    from pathlib import Path

CASES: list[Any] = [
    pytest.param("file", "a.txt", ["a.txt"], True, id="file"),
    pytest.param("file", "a.txt", ["b.txt"], False, id="another file"),
    pytest.param("file", "a.txt", ["sub/a.txt"], False, id="the name elsewhere"),
    pytest.param("glob", "p-*.dat", ["p-1.dat"], True, id="glob"),
    pytest.param("glob", "p-*.dat", [], False, id="empty glob"),
    pytest.param("glob", "*.dat", ["sub/a.dat"], False, id="a star stays in its folder"),
    pytest.param("glob", "**/*.dat", ["sub/deep/a.dat"], True, id="two stars do not"),
    pytest.param("glob", "**/*.dat", ["a.dat"], True, id="two stars may be no folder"),
    pytest.param("dir", "out", ["out/a"], True, id="dir"),
    pytest.param("dir", "out", ["out2/a"], False, id="another dir"),
    pytest.param("dir", "out", ["out"], False, id="a file in place of a dir"),
    pytest.param("dir", ".", ["a"], True, id="the task's own folder"),
    pytest.param("dir", ".", [], False, id="the task's own folder, empty"),
]


@pytest.mark.parametrize(("kind", "name", "came", "ok"), CASES)
def test_what_is_declared_must_come(kind: Any, name: str, came: list[str], ok: bool) -> None:
    files = [ResultFile(name=file, size=1, sha256="", mode=0o644) for file in came]
    verdict = checks.declared([Output(name=name, kind=kind)], files)
    assert verdict.ok is ok
    assert verdict.reason == ("" if ok else f"{name} is missing")


def test_all_that_is_missing_is_named() -> None:
    outputs = [Output(name=name) for name in ("a", "b", "c")]
    files = [ResultFile(name="b", size=0, sha256="", mode=0o644)]
    assert checks.declared(outputs, files).reason == "a, c are missing"


def test_bytes_are_those_that_were_sent(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"data")
    good = sha256(b"data").hexdigest()
    assert checks.verify(path, sha256=good, size=4) == checks.Verdict(ok=True)
    assert checks.verify(path, sha256=good, size=5).reason == "4 bytes came instead of 5"
    path.write_bytes(b"dato")
    assert not checks.verify(path, sha256=good, size=4).ok
