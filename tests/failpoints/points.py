"""Which failpoints does the source have, and which of its calls should have some and do not?

A lasting call, whose effect outlives the process, stands in the body of ``with around("…"):``. In
agent.py every call of a function in C has points, so there it must be one: ``os.rename`` itself.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

import corral

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = Path(corral.__file__).parent

MODULES = {  # module -> its calls that last
    "os": {
        "rename", "renames", "replace", "link", "fsync", "fdatasync", "fork", "forkpty", "vfork",
        "posix_spawn", "posix_spawnp", "system", "popen", "wait", "wait3", "wait4", "waitid",
        "waitpid", "kill", "killpg",
    },
    "subprocess": {"Popen", "run", "call", "check_call", "check_output", "getoutput"},
    "asyncio": {"create_subprocess_exec", "create_subprocess_shell"},
    "shutil": {"move"},
    "_posixsubprocess": {"fork_exec"},
}  # fmt: skip
PROCESS = {"wait", "poll", "communicate", "kill", "terminate", "send_signal"}
PATH = {"rename", "replace", "hardlink_to"}  # of one argument: those of texts and structs have more
ANSWER = "send"  # as ASGI calls it
AGENT = "agent.py"
WORDS = {  # (function, call) of agent.py: its journal, its record of starts, what it says
    ("_append", "write"), ("strike", "ftruncate"), ("note_start", "pwrite"),
    ("_flush", "send"), ("flush", "send"), ("say", "write"),
}  # fmt: skip

EXCEPTIONS = {  # (file, function, call) -> why it needs no points
    ("failpoint.py", "Deadly._pass", "kill"): "it is the points' own",
    ("agent.py", "arm.look", "kill"): "it is the points' own",
    ("server/app.py", "_refuse", "send"): "it tells a stranger no: nothing was done before",
    ("fleet/gate.py", "endpoint", "communicate"): "it reads; asyncio reaps where nobody can see it",
}

SCENES = {  # what passes points only with hosts, a second command, or something that hangs: test_far
    "ssh.start", "ssh.reap", "gate.start", "ssh.kill", "gate.kill", "users.answer",
    "_try_script.waitpid", "_wait_for.killpg", "_end.kill", "end_supervisor.kill",
    "join.waitpid", "guard.start", "guard.reap",
}  # fmt: skip

Scope = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class Call(NamedTuple):
    """A lasting call."""

    file: str
    function: str  # with its class: "Disk.seal"
    name: str
    line: int
    guarded: bool


def sources() -> dict[str, str]:
    """Give corral's own sources, by their place in the package."""
    return {
        path.relative_to(SOURCES).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(SOURCES.rglob("*.py"))
    }


def points(file: str, text: str) -> list[str]:
    """List the names of a source's points.

    Raises:
        ValueError: One has a name that is no literal.
    """
    if file == AGENT:
        return sorted(
            {name for call in lasting_calls(file, text) if call.guarded for name in _names(call)}
        )
    arounds = [node for node in ast.walk(ast.parse(text)) if _is_around(node)]
    return [f"{_literal(node)}.{when}" for node in arounds for when in ("before", "after")]


def lasting_calls(file: str, text: str) -> list[Call]:
    """List a source's lasting calls."""
    return list(_calls_in(ast.parse(text), file, ()))


def _names(call: Call) -> list[str]:
    """Name the points that agent.py has at a call."""
    where = f"{call.function.rpartition('.')[2]}.{call.name}"
    return [f"{where}.{when}" for when in ("before", "after", *["child"] * (call.name == "fork"))]


def _calls_in(scope: Scope, file: str, names: tuple[str, ...]) -> Iterator[Call]:
    within = {
        inner
        for node in _inside(scope)
        if isinstance(node, ast.With | ast.AsyncWith)
        and any(_is_around(item.context_expr) for item in node.items)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in _inside(scope):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _calls_in(node, file, (*names, node.name))
        elif isinstance(node, ast.Call):
            name = _lasting(node)
            if file != AGENT and name:
                yield Call(file, ".".join(names), name, node.lineno, node in within)
            elif name or (names and (names[-1], _called(node)) in WORDS):
                pointed = bool(names) and _is_c(node) and names[-1] != "look"
                yield Call(file, ".".join(names), _called(node), node.lineno, pointed)


def _inside(scope: Scope) -> Iterator[ast.AST]:
    """Walk a function, or a class, or a module, without what is inside of inner ones."""
    ahead: list[ast.AST] = list(scope.body)
    while ahead:
        node = ahead.pop(0)
        yield node
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            ahead.extend(ast.iter_child_nodes(node))


def _lasting(node: ast.Call) -> str:
    """Name the call if it lasts, else ""."""
    function = node.func
    if not isinstance(function, ast.Attribute):
        return ANSWER if _called(node) == ANSWER else ""
    name, owner = function.attr, function.value
    module = owner.id if isinstance(owner, ast.Name) else ""
    if module in MODULES:
        return name if name in MODULES[module] and not _is_look(name, node) else ""
    if name == "commit" or (name.startswith("execute") and _commits(node)):
        return "commit"
    if name in PATH and len(node.args) == 1 and not node.keywords:
        return name
    if name in PROCESS and ast.unparse(owner) in ("process", "self._process"):
        return name
    return ""


def _is_look(name: str, node: ast.Call) -> bool:
    """Say whether it is ``kill(pid, 0)``, which only looks."""
    return name == "kill" and isinstance(node.args[1], ast.Constant) and node.args[1].value == 0


def _commits(node: ast.Call) -> bool:
    texts = [inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant)]
    return any(isinstance(text, str) and "commit" in text.lower() for text in texts)


def _called(node: ast.Call) -> str:
    """Give the last part of the called function's name."""
    return ast.unparse(node.func).rpartition(".")[2]


def _is_c(node: ast.Call) -> bool:
    """Say whether it is a call of a function in C."""
    return ast.unparse(node.func).startswith(
        ("os.", "_posixsubprocess.", "self.sock.", "wire.sock.")
    )


def _is_around(node: ast.AST) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and _called(node) == "around"


def _literal(node: ast.Call) -> str:
    (name,) = node.args
    return str(ast.literal_eval(name))
