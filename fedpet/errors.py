"""Every error that fedpet raises on purpose.

::

    FedpetError
    ├── StudyRefused              the images cannot be used for what was asked (exit code 3)
    │   ├── UnreadableStudy       no DICOM, a damaged archive, an archive beyond the limits
    │   ├── SeriesNotFound        no CT, no attenuation-corrected PET, no common frame of reference
    │   ├── GeometryRefused       slices that do not form one volume
    │   ├── SuvNotComputable      a PET whose values cannot be turned into SUVbw
    │   ├── TracerRefused         a PET of another tracer than fluorine-18 FDG
    │   └── ReferenceNotFound     no healthy organ to compare lesions with
    ├── ComponentUnknown         a component to be switched that the delineation does not have
    ├── CorrectionRefused         a correction of weight, height, dose or times that cannot be right
    ├── RecordRefused             a clinical record or table that cannot be read or is out of range
    ├── BundleRefused             a model bundle that must not be used
    │   ├── BundleDamaged         a checksum, a file or a field does not fit
    │   └── BundleForeign         made for another contract, format or software
    ├── ExportRefused             ONNX and torch disagree
    ├── NodeDataRefused           node data that was not made by this contract
    ├── FederationError           the federation did not run as configured
    ├── PacsError                 a PACS cannot be reached, refuses, or gave less than it has
    │   └── PacsUnavailable       it may work later: worth another try
    ├── SignInRefused             what the provider said of a user cannot be used
    ├── ReportRefused             a file that is no report of fedpet
    ├── OutputRefused             a folder that cannot take a result: not empty, or not writable
    └── SettingsError             configuration that cannot be used

A message says what was found, what was needed and what to do. It never holds an identifier of a patient,
nor a path that a user uploaded.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from fedpet.messages import Message


class FedpetError(Exception):
    """Root of the tree: found, needed and advice, each a translatable sentence."""

    def __init__(self, *, found: Message, needed: Message, advice: Message) -> None:
        super().__init__(found, needed, advice)
        self.found = found
        self.needed = needed
        self.advice = advice

    def __reduce__(self) -> tuple[Callable[[], FedpetError], tuple[()]]:
        return partial(type(self), found=self.found, needed=self.needed, advice=self.advice), ()

    def __str__(self) -> str:
        return self.translate(str)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"  # as other software logs it

    def translate(self, say: Callable[[Message], str]) -> str:
        """The three sentences in one paragraph, each said by `say`."""
        return " ".join(say(part) for part in (self.found, self.needed, self.advice))


class StudyRefused(FedpetError):
    """The images cannot be used for what was asked."""


class UnreadableStudy(StudyRefused):
    """Nothing readable was found, or an archive is damaged or beyond the limits."""


class SeriesNotFound(StudyRefused):
    """A needed series is not among the files."""


class GeometryRefused(StudyRefused):
    """The slices do not form one volume."""


class SuvNotComputable(StudyRefused):
    """The PET values cannot be turned into SUVbw."""


class ReferenceNotFound(StudyRefused):
    """No healthy organ to compare lesions with, for a threshold relative to one."""


class ComponentUnknown(FedpetError):
    """A component to be switched that the delineation does not have, or that is both included and excluded."""


class TracerRefused(StudyRefused):
    """The PET shows another tracer than fluorine-18 FDG; its SUV, if any, means something else."""


class CorrectionRefused(FedpetError):
    """A person's correction of weight, height, dose or times is out of range, without reason or does not fit."""


class RecordRefused(FedpetError):
    """A clinical record or table cannot be read, or a value lies out of its range."""


class BundleRefused(FedpetError):
    """A model bundle that must not be used."""


class BundleDamaged(BundleRefused):
    """A checksum, a file or a field of the bundle does not fit."""


class BundleForeign(BundleRefused):
    """The bundle was made for another contract, format or software."""


class ExportRefused(FedpetError):
    """ONNX and torch disagree on real inputs, so no bundle is written."""


class NodeDataRefused(FedpetError):
    """Node data that was not made by this contract."""


class FederationError(FedpetError):
    """The federation did not run as configured."""


class PacsError(FedpetError):
    """A PACS cannot be reached, refuses what was asked, or gave or took only a part of it."""


class PacsUnavailable(PacsError):
    """The PACS does not answer, is busy, or the connection broke: the same may work later."""


class SignInRefused(FedpetError):
    """What the provider of identities said of a user cannot be used."""


class ReportRefused(FedpetError):
    """A file to be verified that is no report of fedpet."""


class OutputRefused(FedpetError):
    """The folder for a result is not empty or cannot be written."""


class SettingsError(FedpetError):
    """Configuration that cannot be used."""
