"""Shard after shard: each is read, computed, written, and leaves a small exact summary.

`run` works through the shards of a night, a few at a time, in any order; what comes out does
not depend on either. The unit of work is a shard's own files in and its own files out.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from margrave import engine
from margrave.errors import MargraveError

__all__ = ["Stopped", "named", "run"]

_T = TypeVar("_T")

#: Seconds that the main thread sleeps at most before it looks for a signal.
_LOOK = 0.1


class Stopped(Exception):
    """A shard was given up because the run ends."""


def run(
    shards: Sequence[int],
    work: Callable[[int], _T],
    *,
    workers: int,
    told: Callable[[int, _T], object],
) -> dict[int, _T]:
    """Return what `work` makes of each shard, by its number.

    Args:
        shards: Their numbers.
        work: Reads, computes and writes a shard. Called from several threads at a time.
        workers: How many shards are in work at a time.
        told: Told of each finished shard, by its number, in the thread of the caller.

    Raises:
        MargraveError: What the first shard that was found to be refused says, with its number.
            The others in work are given up, and no further one is begun.
        KeyboardInterrupt: The run is stopped by a signal: shards in work are given up. It comes
            once they have ended, and further signals do not hurry it.
    """
    done: dict[int, _T] = {}
    if workers == 1 or len(shards) == 1:
        for number in shards:
            done[number] = _work(work, number)
            told(number, done[number])
        return done
    stop = threading.Event()
    with ThreadPoolExecutor(workers, thread_name_prefix="shard") as pool:
        left = {pool.submit(_stoppable, work, number, stop): number for number in shards}
        try:
            while left:
                ready, _ = wait(left, timeout=_LOOK, return_when=FIRST_COMPLETED)
                for future in sorted(ready, key=left.__getitem__):
                    number = left.pop(future)
                    done[number] = future.result()
                    told(number, done[number])
        except BaseException:
            stop.set()
            _see_out(left)
            raise
    return done


def named(error: MargraveError, number: int) -> MargraveError:
    """Return what a shard was refused for, with its number."""
    return type(error)(f"in shard {number}, {error}")


def _work(work: Callable[[int], _T], number: int) -> _T:
    try:
        return work(number)
    except MargraveError as error:
        raise named(error, number) from error


def _stoppable(work: Callable[[int], _T], number: int, stop: threading.Event) -> _T:
    """Do the work in a thread of the pool, which no signal reaches."""

    def look(_done: float = 0.0) -> None:
        if stop.is_set():
            raise Stopped

    look()
    with engine.progress(look):  # the core looks a few times a second
        return _work(work, number)


def _see_out(futures: Collection[Future[_T]]) -> None:
    """Wait until what is in work has ended, however often the run is told to end.

    Until then it writes where the caller is about to clear away.
    """
    while True:
        with contextlib.suppress(KeyboardInterrupt):
            wait([future for future in futures if not future.cancel()])
            return
