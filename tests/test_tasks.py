"""Work that waits for other work, and what is remembered of it."""

from __future__ import annotations

import threading
import weakref
from concurrent.futures import Future

import pytest

from slomo_cli.tasks import Recent, Tasks


class Thing:
    """What can be looked after."""


def tasks(threads: int = 1) -> Tasks:
    return Tasks(threads, "test", lambda: None, "dropped")


def test_work_begins_when_all_is_there_and_holds_no_thread_before() -> None:
    pool, first, second = tasks(), Future[int](), Future[int]()
    sum_of_both = pool.after([first, second], lambda a, b: a + b)
    second.set_result(2)
    assert pool.submit(lambda: 7).result(5) == 7, "the only thread is free"
    first.set_result(1)
    assert sum_of_both.result(5) == 3
    pool.close()


def test_what_one_piece_raises_comes_out_of_those_that_need_it() -> None:
    pool = tasks()
    failed = pool.after([pool.submit(lambda: 1 / 0)], lambda _: 1)
    with pytest.raises(ZeroDivisionError):
        pool.after([failed, pool.submit(lambda: 1)], lambda *_: 2).result(5)
    pool.close()


def test_what_was_made_is_not_held_by_what_it_was_made_of() -> None:
    pool, source = tasks(), Future[int]()
    made = pool.after([source], lambda _: Thing())
    source.set_result(1)
    gone = weakref.ref(made.result(5))
    pool.close()
    del made
    assert gone() is None


def test_whoever_waits_for_what_closing_drops_is_told() -> None:
    """However much had yet to come before it."""
    pool, begun, held = tasks(), threading.Event(), threading.Event()
    pool.submit(lambda: (begun.set(), held.wait(5)))
    last: Future[int] = pool.after([pool.after([pool.submit(lambda: 1)], lambda x: x)], lambda x: x)
    other: Future[int] = pool.after([pool.submit(lambda: 1), pool.submit(lambda: 1)], lambda x, y: x)
    begun.wait(5)
    threading.Timer(0.1, held.set).start()
    pool.close()
    for future in (last, other, pool.after([last], lambda x: x)):
        with pytest.raises(RuntimeError, match="dropped"):
            future.result(5)


def test_the_last_few_are_remembered_by_identity() -> None:
    recent: Recent[int] = Recent(2)
    a, b, c = ([0] for _ in range(3))
    numbers = iter(range(9))

    def of(*key: object) -> int:
        return recent.of(*key, make=lambda: next(numbers))

    assert [of(a, b), of(b, a), of(a, b), of(a, c), of(a, b), of(b, a)] == [0, 1, 0, 2, 0, 3]
    recent.clear()
    assert of(a, b) == 4
