"""What the command line asks of a living master, as JSON over HTTP on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec
from starlette.responses import Response

from corral.engine.control import RUN_VERBS, TASK_VERBS
from corral.errors import CorralError, NotFoundError, StateError, UsageError
from corral.ids import RunId, TaskId
from corral.model.asked import Change, Collected, Follow, Problem, Serve, Submit

if TYPE_CHECKING:
    from starlette.requests import Request

    from corral.master.master import Master

T = TypeVar("T")
RUN_DIGITS = 18  # what a database can hold


def master_of(request: Request) -> Master:
    """Give the master that the application serves."""
    master: Master = request.app.state.master
    return master


async def submit(request: Request) -> Response:
    """Take in a command."""
    asked = await _asked(request, Submit)
    return _json(await master_of(request).submit(asked.submission, asked.environment))


async def change(request: Request) -> Response:
    """Carry out an operator's verb on a run."""
    verb = request.path_params["verb"]
    if verb not in (*RUN_VERBS, *TASK_VERBS):
        raise NotFoundError(f"there is no verb {verb}")
    asked = await _asked(request, Change)
    tasks = None if asked.tasks is None else [TaskId(task) for task in asked.tasks]
    return _json(await master_of(request).change(verb, _run(request), tasks))


async def serve_run(request: Request) -> Response:
    """See to it that a run has agents, with the caller's environment for local tasks."""
    asked = await _asked(request, Serve)
    await master_of(request).serve_run(_run(request), asked.environment)
    return _json({})


async def collect(request: Request) -> Response:
    """Bring a run's results folder up to date; answered when it is."""
    collected = await master_of(request).collect(_run(request))
    return _json(Collected(done=collected.done, missing=collected.missing))


async def follow(request: Request) -> Response:
    """Read on in what a running attempt writes; answered when there is more, or after a while."""
    asked = await _asked(request, Follow)
    return _json(await master_of(request).follow(asked))


async def problem(request: Request, error: Exception) -> Response:
    """Turn an error into the one shape that all errors have."""
    del request
    assert isinstance(error, CorralError)
    status = (
        404
        if isinstance(error, NotFoundError)
        else 409
        if isinstance(error, StateError)
        else 400
        if isinstance(error, UsageError)
        else 503
    )
    said = Problem(error=error.message, hint=error.hint, exit_code=error.exit_code)
    return _json(said, status=status)


async def _asked(request: Request, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(await _body(request), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"not understood: {error}") from error


async def _body(request: Request) -> bytearray:
    """Take in what is asked: a million values once, where `Request.body` joins pieces that it keeps."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
    return body


def _run(request: Request) -> RunId:
    text = request.path_params["run"]
    if not (text.isascii() and text.isdigit() and len(text) <= RUN_DIGITS):
        raise NotFoundError(f"there is no run {text[:RUN_DIGITS]}")
    return RunId(int(text))


def _json(value: object, *, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json")
