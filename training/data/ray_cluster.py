"""The work of `training.data.process_pool` on the machines of a Ray cluster that belongs to the hospital."""

from __future__ import annotations

import importlib
import logging
import os
import socket
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, TypeVar

import fedpet
from fedpet.core.errors import ClusterError
from fedpet.core.messages import Message
from training.data.process_pool import Lost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import ModuleType

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
THIS_MACHINE: Final = "local"
TASK_BYTES: Final = 1 << 30  # one study with its images and report stays below (docs/batch.md)
_KILLED: Final = 2  # times that the process of one item may be killed
_VANISHED: Final = 5  # machines that may vanish under one item


@dataclass(frozen=True)
class RayCluster:
    """Where tasks run side by side, each with one core and 1 GiB.

    Attributes:
        address: `HOST:PORT` or `auto` for a cluster that runs, `local` for one of this machine that ends with the
            command.
        at_once: largest number of tasks side by side; None for the cores of the cluster.
    """

    address: str = THIS_MACHINE
    at_once: int | None = None

    def map(self, function: Callable[[_Item], _Result], items: Sequence[_Item]) -> Iterator[_Result | Lost[_Item]]:
        """`map` in the order of the items.

        Ray repeats nothing by itself: the result of an item is taken from one task only. An item whose process is
        killed is tried once more, then `Lost`; one whose machine vanished goes to another machine.

        Args:
            function: can be pickled; runs in fedpet as installed on the machine of the task.
            items: a bounded number of them is under way, however many there are.

        Raises:
            ClusterError: Ray is not installed, no cluster answers at the address, or one of its machines has another
                fedpet.
        """
        with _connected(self.address) as ray:
            limit = self.at_once or max(1, int(ray.cluster_resources().get("CPU", 1)))
            yield from _Work(ray, function, items, limit).results()


class _Work:
    """Tasks under way, and results that wait for one before them."""

    def __init__(
        self, ray: ModuleType, function: Callable[[_Item], _Result], items: Sequence[_Item], limit: int
    ) -> None:
        self._ray = ray
        self._items = items
        self._limit = limit
        self._function = ray.put(function)
        self._task = ray.remote(_run).options(num_cpus=1, memory=TASK_BYTES, max_retries=0, name="fedpet")
        self._running: dict[object, int] = {}  # reference of Ray to place of the item
        self._finished: dict[int, Any] = {}
        self._failures: dict[tuple[int, bool], int] = {}

    def results(self) -> Iterator[Any]:
        """One a item, in their order."""
        started = 0
        for place in range(len(self._items)):
            while place not in self._finished:
                # a slow item holds back no more than three times the tasks that run at once
                while len(self._running) < self._limit and started < min(len(self._items), place + 4 * self._limit):
                    self._start(started)
                    started += 1
                (done, *_), _ = self._ray.wait(list(self._running), num_returns=1)
                self._take(done)
            yield self._finished.pop(place)

    def _start(self, place: int) -> None:
        self._running[self._task.remote(self._function, self._items[place], fedpet.__version__)] = place

    def _take(self, done: object) -> None:
        errors = self._ray.exceptions
        place = self._running.pop(done)
        try:
            self._finished[place] = self._ray.get(done)
        except (errors.WorkerCrashedError, errors.OutOfMemoryError):
            self._again(place, machine=False)
        except (errors.NodeDiedError, errors.ObjectLostError):
            self._again(place, machine=True)
        except errors.RayError as error:
            if isinstance(cause := getattr(error, "cause", None), ClusterError):
                raise cause from None
            raise ClusterError(
                found=Message("The cluster stopped a task ({why}).", why=type(cause or error).__name__),
                needed=Message("The same fedpet, with what it needs, on each machine of the cluster."),
                advice=Message("Look at the cluster with `ray status`; what is done is kept."),
            ) from None

    def _again(self, place: int, *, machine: bool) -> None:
        times = self._failures[place, machine] = self._failures.get((place, machine), 0) + 1
        if times < (_VANISHED if machine else _KILLED):
            self._start(place)
        else:
            self._finished[place] = Lost(self._items[place], "machine vanished" if machine else "process killed")


def _run(function: Callable[[_Item], _Result], item: _Item, version: str) -> _Result:
    """One item, on whatever machine of the cluster."""
    if version != fedpet.__version__:
        raise ClusterError(
            found=Message("A machine of the cluster has fedpet {other}.", other=fedpet.__version__),
            needed=Message("{version}, as on the machine of the command.", version=version),
            advice=Message("Install the same version on each machine, then run the command again."),
        )
    return function(item)


@contextmanager
def _connected(address: str) -> Iterator[ModuleType]:
    """The module `ray`, connected. It reports no usage to its makers, and prints no task's output here."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise ClusterError(
            found=Message("Ray is not installed."),
            needed=Message("The extra `ray` of fedpet, on each machine of the cluster."),
            advice=Message("pip install 'fedpet[ray]', or leave --engine out: this machine's processes then work."),
        ) from None
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # what happened to a task is said by its result
    with ExitStack() as until_done:
        here: dict[str, object] = {}
        if address == THIS_MACHINE:  # sockets need a short path, which the scratch folder in `home` is not
            folder = until_done.enter_context(TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True))
            here = {"include_dashboard": False, "_temp_dir": folder}
        try:
            _require_reachable(address)
            ray.init(address=address, log_to_driver=False, configure_logging=False, **here)
        except (OSError, RuntimeError, ValueError) as error:
            raise ClusterError(
                found=Message("No Ray cluster answers at {address} ({why}).", address=address, why=str(error)),
                needed=Message("A cluster that was started with `ray start`, of the same versions of Ray and Python."),
                advice=Message("Look with `ray status --address {address}`, or give --address local.", address=address),
            ) from error
        until_done.callback(ray.shutdown)
        yield ray


def _require_reachable(address: str) -> None:
    """Ask at HOST:PORT whether somebody listens; Ray itself would wait for minutes.

    Raises:
        OSError: nobody does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
