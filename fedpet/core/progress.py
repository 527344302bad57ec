"""How long work tells what it is doing: one call with a fraction and a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fedpet.core.messages import Message


class Progress(Protocol):
    """Called with the fraction done (0 to 1) and what is being done; the command line and the app draw it."""

    def __call__(self, fraction: float, message: Message, /) -> None:
        """Report."""


def no_progress(fraction: float, message: Message, /) -> None:
    """Report to nobody."""


def sub_progress(progress: Progress, start: float, stop: float) -> Progress:
    """A progress for a step that fills `start` to `stop` of the whole."""

    def report(fraction: float, message: Message, /) -> None:
        progress(start + (stop - start) * fraction, message)

    return report
