"""Every error that fedpet raises on purpose.

::

    FedpetError
    ├── StudyError                    the images cannot be used for what was asked (exit code 3)
    │   ├── UnreadableStudyError      no DICOM, a damaged archive, an archive beyond the limits
    │   ├── SeriesNotFoundError       no CT, no attenuation-corrected PET, no common frame of reference
    │   ├── SliceGeometryError        slices that do not form one volume
    │   ├── SuvError                  a PET whose values cannot be turned into SUVbw
    │   ├── TracerError               a PET of another tracer than fluorine-18 FDG
    │   ├── ReferenceUptakeError      no healthy organ to compare lesions with
    │   └── RecordMismatchError       images and clinical record contradict each other
    ├── UnknownComponentError         a component to be switched that the delineation does not have
    ├── OverrideError                 a correction of weight, height, dose or times that cannot be right
    ├── RecordError                   a clinical record or table that cannot be read or is out of range
    ├── WarehouseError                a data warehouse that cannot be read or lacks what the rules name
    ├── BundleError                   a model bundle that must not be used
    │   ├── CorruptBundleError        a checksum, a file or a field does not fit
    │   ├── ModelGoneError            the model that answered a case is not here any more
    │   └── IncompatibleBundleError   made for another contract, format or software
    ├── PredictionMismatchError       images, a record, a model or an explanation that are not the prediction's own
    ├── NothingToExplainError         an explanation of a prediction that abstained
    ├── ArgumentError                 a value that a function of the library does not take
    ├── ExportError                   ONNX and torch disagree
    ├── NodeDataError                 node data that was not made by this contract
    ├── FederationError               the federation did not run as configured
    ├── PacsError                     a PACS cannot be reached, refuses, or gave less than it has
    │   └── PacsUnavailableError      it may work later: worth another try
    ├── CaseError                     a step that a case of the application cannot take now
    │   ├── CaseNotFoundError         there is no such case, or no longer
    │   ├── StoredResultError         a stored result that this version cannot read
    │   ├── TransitionError           the state of the case or delivery does not allow the step
    │   ├── OutdatedError             what is decided on changed since it was displayed
    │   └── ErasureError              something of an erased case or patient is still there
    ├── SignInError                   what the provider said of a user cannot be used
    ├── ReportError                   a file that is no report of fedpet
    ├── WorklistError                 a list of studies without studies, or with paths that do not exist
    ├── InferenceServerError          a server of the network that cannot be reached, refuses, or holds another model
    ├── ClusterError                  machines that cannot be reached, or differ in what they must share
    ├── OutputError                   a folder that cannot take a result: not empty, or not writable
    └── SettingsError                 configuration that cannot be used

A message says what was found, what was needed and what to do. It never holds an identifier of a patient,
nor a path that a user uploaded.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Callable


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

    @property
    def sentences(self) -> tuple[Message, Message, Message]:
        """What was found, what is needed, which is named as such, and what to do."""
        return self.found, Message("Needed: {needed}", needed=self.needed), self.advice

    def translate(self, say: Callable[[Message], str]) -> str:
        """The three sentences in one paragraph, each said by `say`."""
        return " ".join(map(say, self.sentences))


class StudyError(FedpetError):
    """The images cannot be used for what was asked."""


class UnreadableStudyError(StudyError):
    """Nothing readable was found, or an archive is damaged or beyond the limits."""


class SeriesNotFoundError(StudyError):
    """A needed series is not among the files."""


class SliceGeometryError(StudyError):
    """The slices do not form one volume."""


class SuvError(StudyError):
    """The PET values cannot be turned into SUVbw."""


class ReferenceUptakeError(StudyError):
    """No healthy organ to compare lesions with, for a threshold relative to one."""


class RecordMismatchError(StudyError):
    """Images and clinical record contradict each other, and nobody confirmed that both are right."""


class UnknownComponentError(FedpetError):
    """A component to be switched that the delineation does not have, or that is both included and excluded."""


class TracerError(StudyError):
    """The PET shows another tracer than fluorine-18 FDG; its SUV, if any, means something else."""


class OverrideError(FedpetError):
    """A person's correction of weight, height, dose or times is out of range, without reason or does not fit."""


class RecordError(FedpetError):
    """A clinical record or table cannot be read, or a value lies out of its range."""


class WarehouseError(FedpetError):
    """A data warehouse that cannot be read or lacks a table or column that the rules name."""


class BundleError(FedpetError):
    """A model bundle that must not be used."""


class CorruptBundleError(BundleError):
    """A checksum, a file or a field of the bundle does not fit."""


class ModelGoneError(BundleError):
    """The model that answered a case is not here any more."""


class IncompatibleBundleError(BundleError):
    """The bundle was made for another contract, format or software."""


class PredictionMismatchError(FedpetError):
    """A prediction beside images, a record, a model or an explanation that are not its own."""


class NothingToExplainError(FedpetError):
    """The model abstained: there is no score to explain."""


class ArgumentError(FedpetError):
    """A value that a function of the library does not take, such as an unknown method."""


class ExportError(FedpetError):
    """ONNX and torch disagree on real inputs, so no bundle is written."""


class NodeDataError(FedpetError):
    """Node data that was not made by this contract."""


class FederationError(FedpetError):
    """The federation did not run as configured."""


class PacsError(FedpetError):
    """A PACS cannot be reached, refuses what was asked, or gave or took only a part of it."""


class PacsUnavailableError(PacsError):
    """The PACS does not answer, is busy, or the connection broke: the same may work later."""


class CaseError(FedpetError):
    """A step that a case of the application cannot take now; nothing was changed."""


class CaseNotFoundError(CaseError):
    """There is no such case, or no longer."""


class StoredResultError(CaseError):
    """The stored result of a case does not have the form of this version or an earlier one."""


class TransitionError(CaseError):
    """The state of the case, or of a delivery of its results, does not allow the step (`app.cases.lifecycle`)."""


class OutdatedError(CaseError):
    """What a person decided on changed since it was displayed; nothing was decided."""


class ErasureError(CaseError):
    """Something of an erased case or patient is still on this machine."""


class SignInError(FedpetError):
    """What the provider of identities said of a user cannot be used."""


class ReportError(FedpetError):
    """A file to be verified that is no report of fedpet."""


class WorklistError(FedpetError):
    """A list of studies holds none, or names files that do not exist."""


class ClusterError(FedpetError):
    """Machines that work together cannot be reached, or differ in what they must share."""


class InferenceServerError(FedpetError):
    """A server that runs the network cannot be reached, refuses, answers too late, or does not answer as the model."""


class OutputError(FedpetError):
    """The folder for a result is not empty or cannot be written."""


class SettingsError(FedpetError):
    """Configuration that cannot be used."""
