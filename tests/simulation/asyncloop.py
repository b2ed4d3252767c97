"""How the real asyncio code of the master runs on virtual time, and dies by a virtual kill -9."""

from __future__ import annotations

import asyncio
from asyncio import events
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context

    from tests.simulation.events import Timeline

ROUNDS = 100  # of cancelling: code that waits in its own cleanup takes a few


class VirtualLoop(asyncio.AbstractEventLoop):
    """An event loop of one process on a timeline."""

    def __init__(self, timeline: Timeline, *, thread_s: Callable[[], float]) -> None:
        self.timeline = timeline
        self.errors: list[str] = []  # what nobody awaited
        self._thread_s = thread_s  # how long work in a thread takes
        self._tasks: list[asyncio.Task[Any]] = []
        self._pending: dict[int, asyncio.TimerHandle] = {}
        self._unwinding: deque[asyncio.Handle] | None = None

    # ---------------------------------------------------------------- what asyncio asks of a loop

    def time(self) -> float:
        return self.timeline.now

    def call_soon(  # type: ignore[override]  # plainer types than asyncio has
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_at(self.time(), callback, *args, context=context)

    def call_soon_threadsafe(  # type: ignore[override]  # plainer types than asyncio has
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_at(self.time(), callback, *args, context=context)

    def call_later(  # type: ignore[override]  # plainer types than asyncio has
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]  # plainer types than asyncio has
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if self._unwinding is not None:
            if when <= self.time():  # time stands still for the dead
                self._unwinding.append(handle)
        else:
            self._pending[id(handle)] = handle
            self.timeline.after(when - self.time(), self._run, handle)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, Any],  # type: ignore[override]  # no generators here
        *,
        name: str | None = None,
        context: Any = None,
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        if len(self._tasks) > 500:
            self._tasks = [one for one in self._tasks if not one.done()]
        return task

    def run_in_executor(  # type: ignore[override]  # of one executor: a thread's work at its end
        self, executor: object, func: Callable[..., object], *args: Any
    ) -> asyncio.Future[Any]:
        del executor
        future = self.create_future()
        self.call_later(self._thread_s(), self._finish, future, func, args)
        return future

    def _finish(
        self, future: asyncio.Future[Any], func: Callable[..., object], args: tuple[Any, ...]
    ) -> None:
        if future.done():
            return
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  (whoever awaits it gets it)
            future.set_exception(error)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer is left out when it is due."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._unwinding is None:
            self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    # ---------------------------------------------------------------- its life and death

    def _run(self, handle: asyncio.Handle) -> None:
        self._pending.pop(id(handle), None)
        if handle.cancelled():
            return
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            handle._run()  # what every loop calls
        finally:
            events._set_running_loop(before)

    def kill(self) -> None:
        """End at once. Its coroutines are unwound now, when all that they could reach is gone."""
        now = self.time()
        self.timeline.end()
        due = [handle for handle in self._pending.values() if handle.when() <= now]
        self._pending.clear()
        self._unwinding = deque(due)
        for _ in range(ROUNDS):
            left = [task for task in self._tasks if not task.done()]
            if not left:
                return
            while self._unwinding:
                self._run(self._unwinding.popleft())
            for task in left:
                task.cancel()
            while self._unwinding:
                self._run(self._unwinding.popleft())
        raise AssertionError(f"cannot be cancelled: {left}")
