"""A PACS by DIMSE: C-ECHO, C-FIND, C-GET or C-MOVE, and C-STORE (PS3.4 annexes A, B and C, PS3.7)."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import build_context, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # created at import from a table
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from app.pacs import errors as pacs_errors
from app.pacs.object_store import STORED
from app.pacs.presentation_contexts import receiving, sending
from app.pacs.query import identifier, matches, row
from app.pacs.storage_scp import ObjectSizeLimiter, application_entity, configure_connection, storage_scp, store_handler
from app.pacs.transfer import StoreResponse, TransferStatus
from fedpet.imaging.dicom.headers.unvalidated import values_as_written

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from pydicom.uid import UID
    from pynetdicom.association import Association
    from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
    from pynetdicom.presentation import PresentationContext

    from app.pacs.object_store import StudyStore
    from app.pacs.query import Level, Query, Row
    from app.pacs.transfer import InstanceList
    from fedpet.core.pacs_settings import PacsSettings

    _Answers = Iterator[tuple[Dataset, Dataset | None]]

_PATIENTS, _STUDIES = PatientRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelFind
_GET, _MOVE = StudyRootQueryRetrieveInformationModelGet, StudyRootQueryRetrieveInformationModelMove
_PENDING = frozenset({0xFF00, 0xFF01})
_NO_CONTEXT = 0x0122  # refused: SOP class not supported (PS3.7 annex C)
_SOME_FAILED = 0xB000  # sub-operations complete, one or more failures (PS3.4 C.4.2.1.5, C.4.3.1.4)


class DimsePacs:
    """The operations of a PACS over DIMSE; each opens its own association."""

    def __init__(self, name: str, settings: PacsSettings) -> None:
        self.name = name
        self.settings = settings

    def echo(self) -> None:
        """C-ECHO: check that the PACS answers us.

        Raises:
            PacsError: it does not.
        """
        with self._associated([build_context(Verification)]) as association:
            self._succeed(association.send_c_echo(), "C-ECHO")

    def find(self, query: Query, level: Level, limit: int) -> list[Row]:
        """C-FIND: at most `limit` answers.

        Raises:
            PacsError: the PACS cannot be reached or refuses.
        """
        model = _PATIENTS if level == "patient" else _STUDIES
        found: list[Row] = []
        with self._associated([build_context(model)]) as association:
            for answer in self._search(association, identifier(query, level), model):
                one = row(answer, level)
                if matches(one, query, level):
                    found.append(one)
                if len(found) == limit:
                    association.abort()
                    break
        return found

    def images(self, study_uid: str, modalities: Collection[str] = ()) -> InstanceList:
        """C-FIND of series, then of the images of each, which every SCP supports (PS3.4 C.6.2.1).

        Raises:
            PacsError: the PACS cannot be reached or refuses.
        """
        listed: dict[str, dict[str, str]] = {}
        with self._associated([build_context(_STUDIES)]) as association:
            series = [row(found, "series") for found in self._search(association, _series(study_uid), _STUDIES)]
            for series_uid in (one["series_uid"] for one in series if not modalities or one["modality"] in modalities):
                answers = self._search(association, _images(study_uid, series_uid), _STUDIES)
                listed[series_uid] = {str(one.SOPInstanceUID): str(one.get("SOPClassUID", "")) for one in answers}
        return listed

    def fetch(self, wanted: InstanceList, store: StudyStore) -> TransferStatus:
        """C-GET or C-MOVE of series of the study of the store, one after the other.

        Args:
            wanted: the series with the images that are missing, as `images` lists them.
            store: receives them and knows which have arrived.

        Returns:
            How many transfers failed or remain, by the PACS.

        Raises:
            PacsError: the PACS cannot be reached or refuses.
            UnreadableStudyError: the study is beyond the limits.
        """
        if self.settings.retrieve == "move":
            return self._move(wanted, store)
        return self._get(wanted, store)

    def send(self, files: Sequence[Path]) -> Iterator[StoreResponse]:
        """C-STORE of files, each with its response; without a response an object counts as not stored.

        Raises:
            PacsError: the PACS cannot be reached or refuses; files that were not yielded were not sent.
        """
        with self._associated(sending(files)) as association:
            for file in files:
                try:
                    status = association.send_c_store(dcmread(file))
                except ValueError:  # the PACS accepted no presentation context for it
                    yield StoreResponse(file, _NO_CONTEXT, final=True)
                    continue
                yield StoreResponse(file, status.get("Status"))
                if "Status" not in status:
                    raise pacs_errors.broken(self.name, "C-STORE")

    def _get(self, wanted: InstanceList, store: StudyStore) -> TransferStatus:
        contexts, roles = receiving(_GET, {kind for images in wanted.values() for kind in images.values() if kind})
        meter = ObjectSizeLimiter(store.limits.max_bytes, lambda _: store.too_large())
        handlers = [(evt.EVT_C_STORE, store_handler(store.put)), *meter.handlers()]
        with self._associated(contexts, roles=roles, handlers=handlers) as association:
            if _GET not in {context.abstract_syntax for context in association.accepted_contexts}:
                raise pacs_errors.not_offered(self.name)
            return self._follow(
                (association.send_c_get(_series(store.study_uid, uid), _GET) for uid in wanted), store, "C-GET"
            )

    def _move(self, wanted: InstanceList, store: StudyStore) -> TransferStatus:
        ours = self.settings
        scp = storage_scp(
            store.put,
            ae_title=ours.our_ae,
            address=(ours.move_host, ours.move_port or 0),
            max_bytes=store.limits.max_bytes,
            timeout_s=ours.timeout_s,
            tls=pacs_errors.certificate_refused(self.name, ours.listener_context) if ours.tls else None,
        )
        with scp, self._associated([build_context(_MOVE)]) as association:
            return self._follow(
                (association.send_c_move(_series(store.study_uid, uid), ours.our_ae, _MOVE) for uid in wanted),
                store,
                "C-MOVE",
            )

    def _follow(self, retrievals: Iterable[_Answers], store: StudyStore, operation: str) -> TransferStatus:
        """Follow retrievals to their end; the last answer of each counts what failed and what is left."""
        outcome = TransferStatus()
        for answers in retrievals:
            status = Dataset()
            for status, _ in answers:
                store.check()
                if status.get("Status") not in _PENDING | {_SOME_FAILED}:
                    self._succeed(status, operation)
            outcome = TransferStatus(
                outcome.failed + int(status.get("NumberOfFailedSuboperations") or 0),
                outcome.remaining + int(status.get("NumberOfRemainingSuboperations") or 0),
            )
        return outcome

    def _search(self, association: Association, query: Dataset, model: UID) -> Iterator[Dataset]:
        for status, answer in association.send_c_find(query, model):
            if status.get("Status") not in _PENDING:
                self._succeed(status, "C-FIND")
            elif answer is not None:
                yield answer

    def _succeed(self, status: Dataset, operation: str) -> None:
        """Raise unless a status is success; an empty one means that there was no response."""
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
        """An association; released at the end, aborted after an error.

        pynetdicom aborts it by itself where the PACS accepts none of the contexts.
        """
        ours, connected = self.settings, threading.Event()
        ae = application_entity(ours.our_ae)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = ours.timeout_s
        opening = [(evt.EVT_CONN_OPEN, configure_connection), (evt.EVT_CONN_OPEN, lambda _: connected.set())]
        try:
            association = ae.associate(
                ours.host,
                ours.port,
                contexts=contexts,
                ae_title=ours.called_ae,
                ext_neg=list(roles),
                evt_handlers=[*handlers, *opening],
                tls_args=(pacs_errors.certificate_refused(self.name, ours.caller_context), ours.host)
                if ours.tls
                else None,
            )
        except socket.gaierror as error:
            raise pacs_errors.unreachable(self.name) from error
        if not association.is_established:
            self._refuse(association, connected=connected.is_set())
        try:
            with values_as_written():
                yield association
        except BaseException:
            if association.is_established:
                association.abort()
            raise
        association.release()

    def _refuse(self, association: Association, *, connected: bool) -> NoReturn:
        """Raise the error of an association that was not established."""
        if not connected:
            raise pacs_errors.unreachable(self.name)
        if (answer := association.acceptor.primitive) is None:
            raise pacs_errors.broken(self.name, "A-ASSOCIATE")
        if association.is_rejected:
            raise pacs_errors.rejected(self.name, self.settings, answer)
        raise pacs_errors.not_offered(self.name)


def _series(study_uid: str, series_uid: str = "") -> Dataset:
    """The query identifier of one series, or of all series of a study."""
    query = Dataset()
    query.QueryRetrieveLevel = "SERIES"
    query.StudyInstanceUID, query.SeriesInstanceUID = study_uid, series_uid
    if not series_uid:
        query.Modality = ""
    return query


def _images(study_uid: str, series_uid: str) -> Dataset:
    """The query identifier of the images of a series."""
    query = _series(study_uid, series_uid)
    query.QueryRetrieveLevel = "IMAGE"
    query.SOPInstanceUID = query.SOPClassUID = ""
    return query
