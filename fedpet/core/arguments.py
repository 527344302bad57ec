"""Checks of the arguments of the library's functions, which a notebook gives by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpet.core.errors import ArgumentError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST = 40  # signs of a value that an error quotes


def require_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Refuse a value that is none of the choices.

    Raises:
        ArgumentError: with the choices.
    """
    known = tuple(choices)
    if value not in known:
        raise ArgumentError(
            found=Message("{name} is “{value}”.", name=name, value=str(value)[:_LONGEST]),
            needed=Message("One of: {choices}.", choices=", ".join(known)),
            advice=Message("Check the spelling; upper and lower case count."),
        )


def require_type(name: str, value: object, *types: type) -> None:
    """Refuse a value of another type; what the value is is not quoted, for it may be a path.

    Raises:
        ArgumentError: with the types.
    """
    if not isinstance(value, types):
        raise ArgumentError(
            found=Message("{name} is of the type {type}.", name=name, type=type(value).__name__),
            needed=Message("One of: {choices}.", choices=", ".join(one.__name__ for one in types)),
            advice=Message("Load it first: fedpet.load_study, fedpet.read_record, fedpet.load_model, fedpet.predict."),
        )
