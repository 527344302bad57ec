"""A PACS by DIMSE: C-ECHO, C-FIND, C-GET or C-MOVE, and C-STORE (PS3.4 annexes A, B and C, PS3.7)."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000,
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    PositronEmissionTomographyImageStorage,
    RLELossless,
)
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import from a table
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from app import pacs_errors
from app.pacs_query import identifier, matches, row
from app.pacs_shelf import STORED
from app.pacs_storage import receiver, storage_scp, without_delay
from app.pacs_transfer import Outcome, Sent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pynetdicom.association import Association
    from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
    from pynetdicom.presentation import PresentationContext

    from app.pacs_query import Level, Query, Row
    from app.pacs_shelf import Basket
    from fedpet.pacs_settings import PacsSettings

_PLAIN: list[str | UID] = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
_PACKED = (
    JPEGLosslessSV1, JPEG2000Lossless, JPEGLSLossless, RLELossless, JPEGLossless, DeflatedExplicitVRLittleEndian,
    JPEG2000, JPEGLSNearLossless, JPEGBaseline8Bit, JPEGExtended12Bit,
)  # fmt: skip
_MOST_CONTEXTS = 128  # of one association (PS3.8 9.3.2.2: odd identifiers up to 255)
_PENDING = frozenset({0xFF00, 0xFF01})
_NO_CONTEXT = 0x0122  # refused: SOP class not supported (PS3.7 annex C)
_SOME_FAILED = 0xB000  # sub-operations complete, one or more failures (PS3.4 C.4.2.1.5, C.4.3.1.4)
_IMAGES = (CTImageStorage, PositronEmissionTomographyImageStorage)


class DimsePacs:
    """The operations of a PACS over DIMSE; each opens its own association."""

    def __init__(self, name: str, settings: PacsSettings) -> None:
        self.name = name
        self.settings = settings

    def echo(self) -> None:
        """C-ECHO: whether the PACS answers us.

        Raises:
            PacsError: it does not, and why.
        """
        with self._associated([build_context(Verification)]) as association:
            self._succeed(association.send_c_echo(), "C-ECHO")

    def find(self, query: Query, level: Level, limit: int) -> list[Row]:
        """C-FIND: at most `limit` answers.

        Raises:
            PacsError: the PACS cannot be reached or refuses.
        """
        patient = level == "patient"
        model = PatientRootQueryRetrieveInformationModelFind if patient else StudyRootQueryRetrieveInformationModelFind
        found: list[Row] = []
        for answer in self._search(identifier(query, level), model):
            one = row(answer, level)
            if matches(one, query, level):
                found.append(one)
            if len(found) == limit:
                break
        return found

    def images(self, study_uid: str, series_uid: str) -> dict[str, str]:
        """C-FIND at the level of images, which every SCP supports (PS3.4 C.6.2.1): SOP instances and their classes."""
        asked = _series(study_uid, series_uid, level="IMAGE")
        asked.SOPInstanceUID = asked.SOPClassUID = ""
        answers = self._search(asked, StudyRootQueryRetrieveInformationModelFind)
        return {str(answer.SOPInstanceUID): str(answer.get("SOPClassUID", "")) for answer in answers}

    def fetch(self, series_uid: str, wanted: Mapping[str, str], basket: Basket) -> Outcome:
        """C-GET or C-MOVE of one series of the basket's study.

        Args:
            series_uid: the series.
            wanted: SOP instances and their classes, as `images` tells.
            basket: where they go; whether all came, it tells.

        Returns:
            how many transfers the PACS says failed or are left.

        Raises:
            PacsError: the PACS cannot be reached or refuses.
            UnreadableStudy: the study is beyond the limits.
        """
        asked = _series(basket.study_uid, series_uid, level="SERIES")
        if self.settings.retrieve == "move":
            return self._move(asked, basket)
        return self._get(asked, basket, sorted({*filter(None, wanted.values()), *_IMAGES}))

    def send(self, files: Sequence[Path]) -> Iterator[Sent]:
        """C-STORE of files, each with the answer to it. An empty status means that there was none: not stored.

        Raises:
            PacsError: the PACS cannot be reached or refuses; what was not yielded was not sent.
        """
        with self._associated(_contexts_of(files)) as association:
            for file in files:
                try:
                    status = association.send_c_store(dcmread(file))
                except ValueError:  # the PACS accepted no presentation context for it
                    yield Sent(file, _NO_CONTEXT, final=True)
                    continue
                yield Sent(file, status.get("Status"))
                if "Status" not in status:
                    raise pacs_errors.broken(self.name, "C-STORE")

    def _get(self, asked: Dataset, basket: Basket, classes: Sequence[str]) -> Outcome:
        model = StudyRootQueryRetrieveInformationModelGet
        packed = [build_context(uid, syntax) for syntax in _PACKED for uid in classes]
        contexts = [build_context(model), *(build_context(uid, _PLAIN) for uid in classes), *packed]
        roles = [build_role(uid, scp_role=True) for uid in classes]
        store = (evt.EVT_C_STORE, receiver(basket.keep))
        with self._associated(contexts, roles=roles, handlers=[store]) as association:
            return self._follow(association.send_c_get(asked, model), basket, "C-GET")

    def _move(self, asked: Dataset, basket: Basket) -> Outcome:
        ours = self.settings
        model = StudyRootQueryRetrieveInformationModelMove
        scp = storage_scp(
            basket.keep,
            ae_title=ours.our_ae,
            address=(ours.move_host, ours.move_port or 0),
            max_bytes=basket.limits.max_bytes,
            timeout_s=ours.timeout_s,
            tls=ours.listener_context() if ours.tls else None,
        )
        with scp, self._associated([build_context(model)]) as association:
            return self._follow(association.send_c_move(asked, ours.our_ae, model), basket, "C-MOVE")

    def _follow(self, answers: Iterator[tuple[Dataset, Dataset | None]], basket: Basket, operation: str) -> Outcome:
        """Follow a retrieval to its end; the last answer counts what failed and what is left."""
        status = Dataset()
        for status, _ in answers:
            basket.check()
            if status.get("Status") not in _PENDING | {_SOME_FAILED}:
                self._succeed(status, operation)
        return Outcome(
            failed=int(status.get("NumberOfFailedSuboperations") or 0),
            remaining=int(status.get("NumberOfRemainingSuboperations") or 0),
        )

    def _search(self, asked: Dataset, model: str) -> Iterator[Dataset]:
        with self._associated([build_context(model)]) as association:
            for status, answer in association.send_c_find(asked, model):
                if status.get("Status") not in _PENDING:
                    self._succeed(status, "C-FIND")
                elif answer is not None:
                    yield answer

    def _succeed(self, status: Dataset, operation: str) -> None:
        """Refuse every status but success; an empty one means that no answer came."""
        if "Status" not in status:
            raise pacs_errors.broken(self.name, operation)
        if status.Status != STORED:
            raise pacs_errors.failed(self.name, operation, status.Status)

    @contextmanager
    def _associated(
        self,
        contexts: list[PresentationContext],
        *,
        roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
        handlers: Sequence[evt.EventHandlerType] = (),
    ) -> Iterator[Association]:
        """An association that offers the first context; released at the end, aborted where something goes wrong."""
        ours, connected = self.settings, threading.Event()
        ae = AE(ours.our_ae)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = ours.timeout_s
        association = ae.associate(
            ours.host,
            ours.port,
            contexts=contexts[:_MOST_CONTEXTS],
            ae_title=ours.called_ae,
            ext_neg=list(roles),
            evt_handlers=[
                *handlers,
                (evt.EVT_CONN_OPEN, without_delay),
                (evt.EVT_CONN_OPEN, lambda _: connected.set()),
            ],
            tls_args=(ours.caller_context(), ours.host) if ours.tls else None,
        )
        offered = {context.abstract_syntax for context in association.accepted_contexts}
        try:
            if not association.is_established or contexts[0].abstract_syntax not in offered:
                self._refuse(association, connected=connected.is_set())
            yield association
        except BaseException:
            if association.is_established:
                association.abort()
            raise
        association.release()

    def _refuse(self, association: Association, *, connected: bool) -> NoReturn:
        """Say why there is no association, or not the one that is needed."""
        if not connected:
            raise pacs_errors.unreachable(self.name)
        if (answer := association.acceptor.primitive) is None:
            raise pacs_errors.broken(self.name, "A-ASSOCIATE")
        if association.is_rejected:
            raise pacs_errors.rejected(self.name, self.settings, answer)
        raise pacs_errors.not_offered(self.name)


def _series(study_uid: str, series_uid: str, *, level: str) -> Dataset:
    asked = Dataset()
    asked.QueryRetrieveLevel = level
    asked.StudyInstanceUID, asked.SeriesInstanceUID = study_uid, series_uid
    return asked


def _contexts_of(files: Sequence[Path]) -> list[PresentationContext]:
    """A context for each kind of object: uncompressed ones may be converted, others go as they are."""
    kinds: dict[tuple[UID, UID | None], None] = {}
    for file in files:
        meta = dcmread(file, specific_tags=["SOPInstanceUID"], stop_before_pixels=True).file_meta
        syntax = meta.TransferSyntaxUID
        kinds[meta.MediaStorageSOPClassUID, None if syntax in _PLAIN else syntax] = None
    return [build_context(kind, _PLAIN if syntax is None else syntax) for kind, syntax in kinds]
