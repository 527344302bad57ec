"""Where the time of a computation goes: stages that count only while somebody asks.

A stage that runs inside another one takes its time from it, so that what is computed when it is first needed counts for
itself and the stages add up to the whole.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Iterator


class Stage(StrEnum):
    """A part of a prediction, in the order of its way."""

    START = "start"
    FILES = "files"
    PIXELS = "pixels"
    RECORD = "record"
    ANATOMY = "anatomy"
    ORGANS = "organs"
    CHECKS = "checks"
    LESIONS = "lesions"
    MODEL = "model"
    EXPLANATION = "explanation"
    IMAGES = "images"
    REPORT = "report"
    DICOM = "dicom"
    OTHER = "other"

    @property
    def label(self) -> Message:
        """What is done in it."""
        return _LABELS[self]


_LABELS = {
    Stage.START: Message("Start of the program and its modules"),
    Stage.FILES: Message("DICOM files: headers, choice of series, SUV factors"),
    Stage.PIXELS: Message("Pixels into SUV and HU"),
    Stage.RECORD: Message("Clinical record, compared with the images"),
    Stage.ANATOMY: Message("Body, landmarks, reference regions"),
    Stage.ORGANS: Message("Network of the organs"),
    Stage.CHECKS: Message("Quality checks"),
    Stage.LESIONS: Message("Lesions and their table"),
    Stage.MODEL: Message("Model: session and answer"),
    Stage.EXPLANATION: Message("Explanation"),
    Stage.IMAGES: Message("Images and result files"),
    Stage.REPORT: Message("Report (PDF)"),
    Stage.DICOM: Message("DICOM objects"),
    Stage.OTHER: Message("Everything else"),
}


@dataclass
class StageTime:
    """What one stage took, without the stages inside it.

    Attributes:
        wall_s: seconds by the clock.
        cpu_s: CPU seconds of the process, all its threads.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0


@dataclass
class Profile:
    """Times by stage; those of stages that did not run are absent."""

    stages: dict[Stage, StageTime] = field(default_factory=dict)
    _open: list[Stage] = field(default_factory=list)
    _since: tuple[float, float] = (0.0, 0.0)

    @property
    def total(self) -> StageTime:
        """The sum over all stages."""
        times = self.stages.values()
        return StageTime(sum(one.wall_s for one in times), sum(one.cpu_s for one in times))

    def __add__(self, other: Profile) -> Profile:
        """Both together, stage by stage."""
        summed = Profile({stage: replace(took) for stage, took in self.stages.items()})
        for name, took in other.stages.items():
            into = summed.stages.setdefault(name, StageTime())
            into.wall_s += took.wall_s
            into.cpu_s += took.cpu_s
        return summed

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Profile:
        """The inverse of `to_json`."""
        return cls({Stage(name): StageTime(**took) for name, took in data["stages"].items()})

    def to_json(self) -> dict[str, Any]:
        """`{"stages": {name: {"wall_s", "cpu_s"}}, "total": {"wall_s", "cpu_s"}}`, in the order of the way."""
        ordered = {stage.value: asdict(self.stages[stage]) for stage in Stage if stage in self.stages}
        return {"stages": ordered, "total": asdict(self.total)}

    def _change(self, to: Stage | None) -> None:
        """Book the time since the last change; then enter a stage, or leave the innermost."""
        now = time.perf_counter(), time.process_time()
        if self._open:
            booked = self.stages.setdefault(self._open[-1], StageTime())
            booked.wall_s += now[0] - self._since[0]
            booked.cpu_s += now[1] - self._since[1]
        self._since = now
        if to is None:
            self._open.pop()
        else:
            self._open.append(to)


_running: ContextVar[Profile | None] = ContextVar("running_profile", default=None)


@contextmanager
def profiled(*, whole_process: bool = False) -> Iterator[Profile]:
    """Count the stages of what runs inside; what no stage claims is `Stage.OTHER`.

    Args:
        whole_process: what the process did before counts as `Stage.START`; only its CPU time is known, which stands for
            the clock's too.
    """
    before = time.process_time()
    profile = Profile({Stage.START: StageTime(before, before)} if whole_process else {})
    token = _running.set(profile)
    try:
        with stage(Stage.OTHER):
            yield profile
    finally:
        _running.reset(token)


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """Count what runs inside as `name` while a profile is running; also decorates a function."""
    profile = _running.get()
    if profile is None:
        yield
        return
    profile._change(name)  # noqa: SLF001  the same module
    try:
        yield
    finally:
        profile._change(None)  # noqa: SLF001  as above
