"""Many patients on several processes, with results in the order of the patients."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(frozen=True)
class Lost(Generic[_Item]):
    """An item whose process was killed, by the system for its memory or by a fault in a library."""

    item: _Item
    why: str


class Cluster(Protocol):
    """Several machines (`training.data.ray_cluster`)."""

    def map(self, function: Callable[[_Item], _Result], items: Sequence[_Item]) -> Iterator[_Result | Lost[_Item]]:
        """As `surviving_map`."""


Workers = int | Cluster  # processes of this machine, or a cluster


def end_with(parent: int) -> None:
    """Let the kernel kill this process when its parent with this process id ends (Linux only).

    SIGKILL, for a library's handler of SIGTERM may hang (Fed-BioMed's did once).
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)


def all_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def ordered_map(function: Callable[[_Item], _Result], items: Sequence[_Item], *, workers: Workers) -> Iterator[_Result]:
    """`map`, on `workers` fresh processes where there is more than one, or on a cluster.

    Raises:
        BrokenProcessPool: the process of an item was killed.
    """
    if not isinstance(workers, int):
        for result in workers.map(function, items):
            if isinstance(result, Lost):
                raise BrokenProcessPool(result.why)
            yield result
        return
    if workers <= 1 or len(items) <= 1:
        yield from map(function, items)
        return
    with _pool(min(workers, len(items))) as pool:
        yield from pool.map(function, items, chunksize=1)


def surviving_map(
    function: Callable[[_Item], _Result], items: Sequence[_Item], *, workers: Workers
) -> Iterator[_Result | Lost[_Item]]:
    """`ordered_map` that survives the death of a process: whoever was on it is tried once more alone, then `Lost`.

    With one worker everything runs in this process, and nothing is survived.
    """
    if not isinstance(workers, int):
        yield from workers.map(function, items)
        return
    if workers <= 1 or len(items) <= 1:
        yield from map(function, items)
        return
    start = 0
    while start < len(items):
        done = 0
        try:
            with _pool(min(workers, len(items) - start)) as pool:
                for result in _windowed(pool, function, items[start:], 2 * workers):
                    done += 1
                    yield result
        except BrokenProcessPool:
            yield _alone(function, items[start + done])
            done += 1
        start += done


def _windowed(
    pool: ProcessPoolExecutor, function: Callable[[_Item], _Result], items: Sequence[_Item], ahead: int
) -> Iterator[_Result]:
    """Results in order, with a bounded number of items under way, so that little is repeated after a death."""
    waiting: list[Future[_Result]] = []
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= ahead:
            yield waiting.pop(0).result()
    while waiting:
        yield waiting.pop(0).result()


def _alone(function: Callable[[_Item], _Result], item: _Item) -> _Result | Lost[_Item]:
    try:
        with _pool(1) as pool:
            return pool.submit(function, item).result()
    except BrokenProcessPool:
        return Lost(item, "process killed")


def _pool(workers: int) -> ProcessPoolExecutor:
    """Fresh processes that end with this one, however it ends."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=end_with, initargs=(os.getpid(),))
