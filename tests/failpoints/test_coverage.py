"""Does every call whose effect outlives its process have a failpoint before and after it?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from textwrap import dedent

import pytest

from tests.failpoints import test_far
from tests.failpoints.points import EXCEPTIONS, SCENES, lasting_calls, points, sources

CALLS = [call for file, text in sources().items() for call in lasting_calls(file, text)]


def test_every_lasting_call_of_corral_has_a_point_before_and_after_it() -> None:
    bare = {call for call in CALLS if not call.guarded}
    told = {call for call in bare if (call.file, call.function, call.name) in EXCEPTIONS}
    assert bare == told
    assert {(call.file, call.function, call.name) for call in told} == EXCEPTIONS.keys()


def test_every_point_stands_in_one_place_only() -> None:
    names = Counter(name for file, text in sources().items() for name in points(file, text))
    assert [name for name, often in names.items() if often > 1] == []
    assert len(names) > 60


def test_every_scene_is_played_and_is_about_a_point() -> None:
    source = Path(test_far.__file__).read_text(encoding="utf-8")
    known = {
        name.rpartition(".")[0] for file, text in sources().items() for name in points(file, text)
    }
    assert known >= SCENES
    assert {scene for scene in SCENES if f'around("{scene}")' in source} == SCENES


@pytest.mark.parametrize(
    "line",
    [
        "os.rename(a, b)",
        "os.replace(a, b)",
        "os.link(a, b)",
        "os.fsync(file)",
        "os.fdatasync(file)",
        "os.fork()",
        "os.posix_spawn(a, b, c)",
        "os.waitpid(pid, 0)",
        "os.wait4(-1, os.WNOHANG)",
        "os.kill(pid, 9)",
        "os.killpg(pid, number)",
        "path.replace(other)",
        "self._path.rename(other)",
        "subprocess.Popen(words)",
        "subprocess.run(words, check=False)",
        "await asyncio.create_subprocess_exec(*words)",
        "process.wait()",
        "self._process.poll()",
        "connection.commit()",
        'connection.execute("commit")',
        'self._connection.executescript(f"begin; {script}; COMMIT;")',
        "await send(words)",
    ],
)
def test_a_call_without_points_is_found_and_one_with_points_is_not(line: str) -> None:
    bare = f"async def act():\n    {line}\n"
    within = f'async def act():\n    with path.open() as file, around("a"):\n        {line}\n'
    assert [call.guarded for call in lasting_calls("a.py", bare)] == [False]
    assert [call.guarded for call in lasting_calls("a.py", within)] == [True]


@pytest.mark.parametrize(
    "source",
    [
        'with around("a"):\n    pass\nos.fork()',
        'with other("a"):\n    os.fork()',
        'with around("a"):\n    def later():\n        os.fork()',
    ],
    ids=["beside it", "another with", "called later"],
)
def test_points_that_are_not_around_the_call_do_not_count(source: str) -> None:
    assert [call.guarded for call in lasting_calls("a.py", source)] == [False]


@pytest.mark.parametrize(
    "line",
    [
        "os.kill(pid, 0)",
        'text.replace("a", "b")',
        "msgspec.structs.replace(reply, stop=stop)",
        "moment.replace(tzinfo=None)",
        "await event.wait()",
        'connection.execute("rollback")',
        "self.sock.send(data)",
    ],
)
def test_a_call_that_lasts_not_needs_no_points(line: str) -> None:
    assert lasting_calls("a.py", f"async def act():\n    {line}\n") == []


def test_the_names_of_points_are_literals() -> None:
    source = 'with file, around("store.commit"):\n    pass'
    assert points("a.py", source) == ["store.commit.before", "store.commit.after"]
    with pytest.raises(ValueError, match="malformed"):
        points("a.py", "with around(name):\n    pass")


def test_the_agents_points_are_calls_in_c_named_by_who_calls_what() -> None:
    source = dedent("""
        class Disk:
            def seal(self):
                os.rename(a, b)
            def _append(self, text):
                os.write(file, text)
                os.write(2, "elsewhere")
        def begin():
            os.fork()
        def copy():
            shutil.move(a, b)
            os.write(file, text)
        os.fork()
    """)
    assert [call[1:3] for call in lasting_calls("agent.py", source) if not call.guarded] == [
        ("copy", "move"),
        ("", "fork"),
    ]
    assert {"seal.rename.before", "_append.write.after", "begin.fork.child"} < set(
        points("agent.py", source)
    )
