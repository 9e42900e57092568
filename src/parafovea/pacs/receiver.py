"""The receiver of C-STORE: who may send, what is taken, and how much of it."""

from __future__ import annotations

import io
import ipaddress
import logging
import socket
from collections.abc import Mapping
from socketserver import BaseServer
from typing import Any, Protocol

import pynetdicom
from pydicom.pixels import get_decoder
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom._globals import ALL_TRANSFER_SYNTAXES
from pynetdicom.sop_class import Verification
from pynetdicom.transport import ThreadedAssociationServer

from parafovea.errors import ConfigError, SourceError
from parafovea.formats.dicom import codecs
from parafovea.pacs.received_objects import CT_CLASSES, ReceivedObject, RefusedObject
from parafovea.settings.pacs import PacsPeer, PacsSettings

LOGGER = logging.getLogger("parafovea.pacs")

#: Answers to C-STORE.
SUCCESS, OUT_OF_RESOURCES, NOT_ITS_CLASS, CANNOT_UNDERSTAND, FAILURE = (
    0x0000,
    0xA700,
    0xA900,
    0xC000,
    0x0110,
)

_PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)

#: Bytes beside an object's own, of commands and of the frames of the protocol.
_OVERHEAD = 2**20


class Intake(Protocol):
    """What takes the objects that a receiver gets."""

    def add(self, peer: str, found: ReceivedObject, data: bytes, *, association: int) -> bool:
        """Store an object, or raise `RefusedObject`; return False if it was there already."""

    def released(self, association: int) -> None:
        """Note that an association has ended."""


def quiet_pynetdicom() -> None:
    """Keep what pynetdicom logs out of the log: it quotes what peers send.

    Objects are taken whole, since pynetdicom loses pixels where it writes them piece by piece.
    """
    pynetdicom._config.STORE_RECV_CHUNKED_DATASET = False
    pynetdicom._config.LOG_HANDLER_LEVEL = "none"
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)


def decodable_syntaxes() -> list[str]:
    """Return the transfer syntaxes of slices that can be read, those without loss first."""
    codecs.register()
    found = [str(each) for each in _PLAIN]
    for syntax in ALL_TRANSFER_SYNTAXES:
        if syntax in found or syntax == DeflatedExplicitVRLittleEndian:
            continue
        try:
            available = get_decoder(syntax).is_available
        except NotImplementedError:
            available = False
        if available:
            found.append(syntax)
    return found


class _CountedConnection(socket.socket):
    """A connection that ends when its peer sends more than it may.

    Everything that pynetdicom keeps in memory of an object comes through here first, also what an
    object or a frame states of its length.
    """

    most_bytes = most_at_once = 0
    total = since = 0

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        data = super().recv(size, flags)
        self.total += len(data)
        self.since += len(data)
        if self.total > self.most_bytes or self.since > self.most_at_once:
            LOGGER.warning("an association was ended that sent more bytes than it may")
            raise ConnectionAbortedError
        return data


class _Server(ThreadedAssociationServer):
    """Ends connections of strangers before anything of them is read."""

    daemon_threads = True
    networks: tuple[Any, ...] = ()
    limits: PacsSettings

    def get_request(self) -> tuple[socket.socket, Any]:
        plain, address = super().get_request()
        connection = _CountedConnection(
            plain.family, plain.type, plain.proto, fileno=plain.detach()
        )
        connection.settimeout(self.limits.patience)
        connection.most_bytes = self.limits.max_association_bytes
        connection.most_at_once = self.limits.max_instance_bytes + _OVERHEAD
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        known = any(_address(client_address[0]) in network for network in self.networks)
        if not known:
            LOGGER.warning("a connection from %s was refused: no peer", client_address[0])
        return known


def _address(text: str) -> Any:
    found = ipaddress.ip_address(text.partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found


def senders(peers: Mapping[str, PacsPeer]) -> dict[str, tuple[str, tuple[Any, ...]]]:
    """Return the name and the networks of the peers that may send, by their AE titles."""
    return {
        peer.ae_title: (name, tuple(map(ipaddress.ip_network, peer.addresses)))
        for name, peer in peers.items()
        if peer.addresses and peer.ae_title is not None
    }


class Receiver:
    """Listens for peers and gives what they send to an intake.

    Parameters
    ----------
    settings : PacsSettings
        Where to listen, peers and limits.
    intake : Intake
        Takes the objects.
    peers : mapping of str to PacsPeer, optional
        Who may send; by default the peers of the settings with addresses.

    Raises
    ------
    ConfigError
        If nobody may send, or the address cannot be listened at.
    """

    def __init__(
        self,
        settings: PacsSettings,
        intake: Intake,
        *,
        peers: Mapping[str, PacsPeer] | None = None,
    ) -> None:
        quiet_pynetdicom()
        self._settings = settings
        self._intake = intake
        self._senders = senders(settings.peers if peers is None else peers)
        if not self._senders:
            raise ConfigError(
                "no peer may send: name those that may in the config, under pacs.peers, with "
                "ae_title and addresses"
            )
        entity = self._entity()
        handlers = [
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_C_STORE, self._stored),
            (evt.EVT_C_ECHO, lambda event: SUCCESS),
            (evt.EVT_CONN_CLOSE, self._closed),
        ]
        address = (settings.host, settings.port)
        try:
            self._server = entity.make_server(address, evt_handlers=handlers, server_class=_Server)
        except OSError as error:
            raise ConfigError(
                f"{settings.host}:{settings.port} cannot be listened at ({error.strerror}): does "
                "parafovea pacs listen run already? Otherwise choose another pacs.port"
            ) from error
        networks = [network for _, each in self._senders.values() for network in each]
        self._server.networks, self._server.limits = tuple(networks), settings

    def _entity(self) -> Any:
        settings = self._settings
        entity = AE(ae_title=settings.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = list(self._senders)
        entity.maximum_associations = settings.max_associations
        entity.network_timeout = entity.acse_timeout = entity.dimse_timeout = settings.patience
        entity.add_supported_context(Verification)
        decodable = decodable_syntaxes()
        for context in AllStoragePresentationContexts:
            # what is ignored may be compressed in any way
            syntaxes = decodable if context.abstract_syntax in CT_CLASSES else ALL_TRANSFER_SYNTAXES
            entity.add_supported_context(context.abstract_syntax, list(syntaxes))
        return entity

    def serve(self) -> None:
        """Serve until `stop` is called by another thread."""
        self._server.serve_forever(poll_interval=0.1)

    def stop(self) -> None:
        """End `serve`, which must have begun, and the associations that there are."""
        for association in self._server.active_associations:
            association.abort()
        # that of pynetdicom expects a server that its own thread runs
        BaseServer.shutdown(self._server)

    def close(self) -> None:
        """Let go of the address."""
        self._server.server_close()

    def _requested(self, event: Any) -> None:
        """Refuse an AE title that comes from the address of another peer."""
        requestor = event.assoc.requestor
        known = self._senders.get(str(requestor.primitive.calling_ae_title or "").strip())
        address = _address(requestor.address)
        if known is None or not any(address in network for network in known[1]):
            LOGGER.warning("an association from %s was refused: not its AE title", address)
            event.assoc.acse.send_reject(0x01, 0x01, 0x03)
            event.assoc.kill()

    def _closed(self, event: Any) -> None:
        self._intake.released(id(event.assoc))

    def _stored(self, event: Any) -> int:
        """Take an object, and return the status of the answer."""
        peer = self._senders[str(event.assoc.requestor.ae_title).strip()][0]
        try:
            return self._taken(peer, event)
        except RefusedObject as refusal:
            LOGGER.warning("an object from %s was refused: %s", peer, refusal)
            return OUT_OF_RESOURCES if refusal.full else CANNOT_UNDERSTAND
        except OSError as error:
            # its text names a file after a UID of the object
            LOGGER.error("an object from %s could not be written: %s", peer, error.strerror)
            return OUT_OF_RESOURCES
        except Exception as error:
            LOGGER.error("an object from %s failed: %s", peer, type(error).__name__)
            return FAILURE
        finally:
            connection = getattr(event.assoc.dul.socket, "socket", None)
            if isinstance(connection, _CountedConnection):
                connection.since = 0

    def _taken(self, peer: str, event: Any) -> int:
        data = event.encoded_dataset()
        try:
            found = ReceivedObject.read(io.BytesIO(data))
        except SourceError as error:
            LOGGER.warning("an object from %s was refused: %s", peer, error)
            return CANNOT_UNDERSTAND
        request = event.request
        if (found.kind, found.instance) != (
            str(request.AffectedSOPClassUID),
            str(request.AffectedSOPInstanceUID),
        ):
            LOGGER.warning("an object from %s was refused: it is not what was announced", peer)
            return NOT_ITS_CLASS
        if found.is_slice(self._settings.modalities):
            self._intake.add(peer, found, data, association=id(event.assoc))
        return SUCCESS
