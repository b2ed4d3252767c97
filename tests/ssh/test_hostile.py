"""Every hostile value arrives byte for byte on other machines too, by every way to say it.

The same table as in tests/grammar; a run that sleeps keeps agents on two hosts meanwhile.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.grammar import hostile

if TYPE_CHECKING:
    from tests.support.corral import Corral
    from tests.support.hosts import Bed

pytestmark = [
    pytest.mark.system("sshd"),
    pytest.mark.system("root"),
    pytest.mark.timeout(180),
]


def test_values_arrive_byte_for_byte_on_ssh_hosts(on_farm: Corral, farm: Bed) -> None:
    on_farm("run", "-q", "-d", "--name", "hold", "-w", "h[1-2]", "sleep 3600")
    wrong: dict[str, object] = {}
    arrived = 0
    for number, case in enumerate(hostile.cases()):
        expected, found = _expected_and_found(on_farm, case, f"it-{number}")
        if found != expected:
            wrong[case.form.name] = (expected, found)
        arrived += len(found)
    on_farm("cancel", "hold")
    assert not wrong
    assert arrived >= 200
    assert not list(on_farm.folder.glob("**/pwned"))
    for host in farm:
        assert host.sh("find ~ /tmp /var/tmp -name pwned") == ""


def _expected_and_found(
    corral: Corral, case: hostile.Case, name: str
) -> tuple[list[list[str]], list[list[str]]]:
    """Run a case's values on the hosts."""
    for path in corral.folder.iterdir():
        if path.name in (".corral", "results"):
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    corral.write("args", hostile.ARGS, executable=True)
    for file, text in case.files.items():
        corral.write(file, text)
    corral("run", "-q", "--name", name, "-w", "h[1-2]", *case.words, stdin=case.stdin)
    rows = corral.rows(name)
    assert {row["host"] for row in rows} <= {"h1", "h2"}
    found = hostile.understood((corral.results(name) / "output.txt").read_bytes())
    expected = [
        [str(number) if word == "#" else word for word in words]
        for number, words in enumerate(case.expected(), 1)
    ]
    return (expected, found) if case.form.ordered else (sorted(expected), sorted(found))
