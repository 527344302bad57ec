"""Reading with pydicom without its validation of values.

Real files break value rules; what matters is checked by fedpet itself. pydicom's warnings would also quote values, a
patient's name among them. Values are validated when they are converted, which is when an attribute is first read, or
made: the context must enclose that, not only `pydicom.dcmread`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pydicom

from fedpet.core.shared_override import SharedOverride

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNVALIDATED = SharedOverride(pydicom.config.settings, "reading_validation_mode", pydicom.config.IGNORE)


@contextmanager
def values_as_written() -> Iterator[None]:
    """While it is open in any thread, pydicom converts values without validating them; also a decorator."""
    with _UNVALIDATED.held():
        yield
