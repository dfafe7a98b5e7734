"""Work for a few threads: a piece is begun as soon as what it needs is there, and what was made lately is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Tasks:
    """A few threads, and the work waiting for them."""

    def __init__(self, threads: int, name: str, begin: Callable[[], None], dropped: str) -> None:
        """``begin``: called first on each thread. ``dropped``: what a RuntimeError tells those who wait for work that
        closing has dropped."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=begin)
        self._dropped = dropped
        self.closed = False

    def submit(self, work: Callable[..., T], *given: Any) -> Future[T]:
        """Run ``work`` on the next free thread."""
        return self._pool.submit(work, *given)

    def after(self, awaited: Sequence[Future[Any]], work: Callable[..., T]) -> Future[T]:
        """What ``work`` makes of the results of all ``awaited``, begun when they are there: a task that waited for them
        would hold a thread that others can use. Where one of them has failed, so has this."""
        done: Future[T] = Future()
        # A future keeps what it calls back for as long as it lives: that must not be what was made of it long ago.
        begin = [lambda: self._begin(done, lambda: work(*(one.result() for one in awaited)))]
        others = threading.Semaphore(len(awaited) - 1)

        def arrived(_: Future[Any]) -> None:
            if not others.acquire(blocking=False):  # the last one
                begin.pop()()

        for one in awaited:
            one.add_done_callback(arrived)
        return done

    def _begin(self, done: Future[T], work: Callable[[], T]) -> None:
        """Run ``work`` on the next free thread and hand its outcome to ``done``."""

        def run() -> None:
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)

        def drop() -> None:
            done.set_exception(RuntimeError(self._dropped))

        if self.closed:  # perhaps by this thread, which could not get through to the pool just now
            return drop()
        try:
            begun = self._pool.submit(run)
        except RuntimeError as error:
            return drop() if self.closed else done.set_exception(error)
        # Dropped by `close`, it would let whoever waits for it wait for ever.
        begun.add_done_callback(lambda ended: drop() if ended.cancelled() else None)

    def close(self) -> None:
        """Drop work not begun and end the threads."""
        self.closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)


class Recent(Generic[T]):
    """What was made for the last ``most`` keys, which are objects or groups of them told apart by identity."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: list[tuple[tuple[object, ...], T]] = []
        self._lock = threading.Lock()

    def of(self, *key: object, make: Callable[[], T]) -> T:
        """What there is for the key, made now if it is not remembered; quick, as other threads wait meanwhile."""
        with self._lock:
            for place, (known, value) in enumerate(self._held):
                if all(one is other for one, other in zip(known, key, strict=True)):
                    self._held.append(self._held.pop(place))
                    return value
            value = make()
            self._held = [*self._held, (key, value)][-self._most :]
            return value

    def clear(self) -> None:
        """Forget everything."""
        self._held = []
