"""An archive that is asked over its DICOM port: C-ECHO, C-FIND, C-MOVE, C-GET and C-STORE."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from parafovea.errors import ConfigError, SourceError
from parafovea.pacs.archive import ArchiveError
from parafovea.pacs.received_objects import CT_CLASSES, ReceivedObject, RefusedObject
from parafovea.pacs.receiver import (
    CANNOT_UNDERSTAND,
    OUT_OF_RESOURCES,
    SUCCESS,
    Receiver,
    decodable_syntaxes,
    quiet_pynetdicom,
)
from parafovea.pacs.retrieved_series import RetrievedSeries, SeriesEntry
from parafovea.settings.pacs import PacsPeer, PacsSettings

#: Most series of a study that are listed.
_MOST_SERIES = 10_000

#: Statuses of answers that are no end.
_PENDING = (0xFF00, 0xFF01)

#: Statuses of C-STORE by which an object is stored, with some elements changed perhaps.
_STORED = (0x0000, 0xB000, 0xB006, 0xB007)


class DimsePeer:
    """A peer that is spoken to over its DICOM port.

    Parameters
    ----------
    name : str
        Its name in the config.
    peer : PacsPeer
        Its address.
    settings : PacsSettings
        This side's AE title, and limits.
    """

    def __init__(self, name: str, peer: PacsPeer, settings: PacsSettings) -> None:
        quiet_pynetdicom()
        self._name = name
        self._peer = peer
        self._settings = settings

    def close(self) -> None:
        """Nothing is kept open."""

    @contextlib.contextmanager
    def _association(
        self, *contexts: tuple[str, list[str] | None], **options: Any
    ) -> Iterator[Any]:
        entity = AE(ae_title=self._settings.ae_title)
        patience = self._settings.patience
        entity.connection_timeout = entity.acse_timeout = entity.network_timeout = patience
        # an archive may take its time to bring images from a tape
        entity.dimse_timeout = 10 * patience
        for abstract, transfer in contexts:
            entity.add_requested_context(abstract, transfer)
        found = entity.associate(
            self._peer.host, self._peer.port, ae_title=self._peer.ae_title, **options
        )
        try:
            if not found.is_established:
                reason = (
                    f"refused the AE title {self._settings.ae_title}: make it known there"
                    if found.is_rejected
                    else "cannot be reached: check its host and port"
                )
                raise ArchiveError(f"peer {self._name} {reason}")
            yield found
        finally:
            if found.is_established:
                found.release()

    def _accepted(self, association: Any, abstract: str, what: str) -> None:
        if not any(each.abstract_syntax == abstract for each in association.accepted_contexts):
            raise ArchiveError(f"peer {self._name} does not offer {what}: allow it there")

    def echo(self) -> None:
        """Ask whether the peer is there.

        Raises
        ------
        ArchiveError
            If it is not.
        """
        with self._association((Verification, None)) as association:
            self._accepted(association, Verification, "C-ECHO")
            self._require(association.send_c_echo(), "C-ECHO")

    def _require(self, status: Any, what: str) -> None:
        code = getattr(status, "Status", None)
        if code != SUCCESS:
            said = "gave no answer" if code is None else f"answered with status 0x{code:04X}"
            raise ArchiveError(f"peer {self._name} {said} to {what}")

    def series(self, study: str) -> list[SeriesEntry]:
        """List the series of a study.

        Raises
        ------
        ArchiveError
            If the peer cannot be asked.
        """
        query = Dataset()
        query.QueryRetrieveLevel = "SERIES"
        query.StudyInstanceUID = study
        query.SeriesInstanceUID = ""
        query.Modality = ""
        query.NumberOfSeriesRelatedInstances = ""
        model = StudyRootQueryRetrieveInformationModelFind
        found: list[SeriesEntry] = []
        with self._association((model, None)) as association:
            self._accepted(association, model, "C-FIND of studies")
            status = None
            for status, answer in association.send_c_find(query, model):
                if getattr(status, "Status", None) not in _PENDING or answer is None:
                    continue
                entry = SeriesEntry.listed(
                    str(answer.get("SeriesInstanceUID") or ""),
                    modality=str(answer.get("Modality") or ""),
                    instances=str(answer.get("NumberOfSeriesRelatedInstances") or ""),
                )
                if entry is not None and len(found) < _MOST_SERIES:
                    found.append(entry)
            self._require(status, "C-FIND")
        return found

    def retrieve(self, entry: SeriesEntry, target: RetrievedSeries) -> None:
        """Retrieve a series to a folder, by C-MOVE or C-GET as the config says.

        Raises
        ------
        ArchiveError
            If the peer cannot be asked, or does not send all.
        SourceError
            If what it sends is refused.
        """
        query = Dataset()
        query.QueryRetrieveLevel = "SERIES"
        query.StudyInstanceUID = target.study
        query.SeriesInstanceUID = target.series
        if self._peer.retrieval == "get":
            self._get(query, target)
        else:
            self._move(query, target)

    def _move(self, query: Dataset, target: RetrievedSeries) -> None:
        model = StudyRootQueryRetrieveInformationModelMove
        sender = self._peer
        if not sender.addresses:
            sender = sender.model_copy(update={"addresses": self._own_addresses()})
        receiver = Receiver(self._settings, target, peers={self._name: sender})
        thread = threading.Thread(target=receiver.serve, daemon=True)
        thread.start()
        try:
            with self._association((model, None)) as association:
                self._accepted(association, model, "C-MOVE of studies")
                answers = association.send_c_move(query, self._settings.ae_title, model)
                self._follow(answers, "C-MOVE", self._unknown_destination)
        finally:
            receiver.stop()
            thread.join()
            receiver.close()

    @property
    def _unknown_destination(self) -> str:
        settings = self._settings
        return (
            f"it sends to the AE title {settings.ae_title} at port {settings.port} of this machine,"
            " if it is made known there"
        )

    def _own_addresses(self) -> tuple[str, ...]:
        try:
            found = socket.getaddrinfo(self._peer.host, self._peer.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise ArchiveError(
                f"the host of peer {self._name} has no address: check its name"
            ) from error
        return tuple(dict.fromkeys(str(each[4][0]) for each in found))

    def _get(self, query: Dataset, target: RetrievedSeries) -> None:
        model = StudyRootQueryRetrieveInformationModelGet
        refused: list[str] = []

        def store(event: Any) -> int:
            data = event.encoded_dataset()
            try:
                found = ReceivedObject.read(io.BytesIO(data))
                target.add(self._name, found, data, association=0)
            except SourceError as error:
                refused.append(str(error))
                return CANNOT_UNDERSTAND
            except RefusedObject as refusal:
                refused.append(str(refusal))
                return OUT_OF_RESOURCES
            return SUCCESS

        contexts = [(str(each), decodable_syntaxes()) for each in CT_CLASSES]
        with self._association(
            (model, None),
            *contexts,
            ext_neg=[build_role(each, scp_role=True) for each in CT_CLASSES],
            evt_handlers=[(evt.EVT_C_STORE, store)],
        ) as association:
            self._accepted(association, model, "C-GET of studies")
            answers = association.send_c_get(query, model)
            try:
                self._follow(answers, "C-GET", "it may need retrieve: move")
            except ArchiveError:
                if refused:
                    raise SourceError(refused[0]) from None
                raise

    def _follow(self, answers: Iterator[tuple[Any, Any]], what: str, hint: str) -> None:
        # the last answer says how it went
        statuses = [each for each, _ in answers]
        status = statuses[-1] if statuses else None
        code = getattr(status, "Status", None)
        failed = int(getattr(status, "NumberOfFailedSuboperations", 0) or 0)
        if code == 0xB000 or failed:
            raise ArchiveError(f"peer {self._name} could not send {failed} objects: {hint}")
        if code != SUCCESS:
            said = "gave no answer" if code is None else f"answered with status 0x{code:04X}"
            raise ArchiveError(f"peer {self._name} {said} to {what}: {hint}")

    def store(self, path: Path) -> None:
        """Send a DICOM file to the peer, which says that it has stored it.

        Raises
        ------
        ArchiveError
            If it does not.
        """
        dataset = pydicom.dcmread(path)
        kind, syntax = str(dataset.SOPClassUID), str(dataset.file_meta.TransferSyntaxUID)
        with self._association((kind, [syntax])) as association:
            self._accepted(association, kind, f"to store {dataset.Modality} objects")
            status = association.send_c_store(dataset)
            code = getattr(status, "Status", None)
            if code not in _STORED:
                self._require(status, f"C-STORE of a {dataset.Modality} object")


def dimse_peer(name: str, peer: PacsPeer, settings: PacsSettings) -> DimsePeer:
    """Return a peer by its DICOM port.

    Parameters
    ----------
    name, peer, settings
        As for `DimsePeer`.

    Raises
    ------
    ConfigError
        If it has none.
    """
    if peer.port is None:
        raise ConfigError(f"peer {name} has no DICOM port: add host, port and ae_title")
    return DimsePeer(name, peer, settings)
