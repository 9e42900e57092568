"""Settings of the exchange with picture archives: who may send, and where results are stored.

Addresses of archives come from here alone: nothing that is received can name another one.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from parafovea.settings.field_types import PositiveFloat, PositiveInt, Strict

#: Names of peers, which are names of folders as well.
PEER_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

_AE_TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Retrieval = Literal["dicomweb", "move", "get"]
Storage = Literal["dicomweb", "dimse"]


def _ae_title(text: str) -> str:
    if not _AE_TITLE.fullmatch(text):
        raise ValueError(
            "an AE title has 1 to 16 characters of ASCII, no backslash, and no space at its ends"
        )
    return text


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(
            f"{text!r} is no IP address or network: write 10.0.0.5 or 10.0.0.0/24, no name"
        ) from error
    return text


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the root of DICOMweb begins with http:// or https:// and a host")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ValueError(
            "the root of DICOMweb holds no user, password, ? or #: name environment variables with "
            "the credentials in user_variable and password_variable"
        )
    return text.rstrip("/")


def _variable(text: str) -> str:
    if not _VARIABLE.fullmatch(text):
        raise ValueError("this is the name of an environment variable, not its value")
    return text


AETitle = Annotated[str, AfterValidator(_ae_title)]
Network = Annotated[str, AfterValidator(_network)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
Variable = Annotated[str, AfterValidator(_variable)]
Port = Annotated[int, Field(ge=1, le=65535)]
Bytes = Annotated[int, Field(ge=1)]


def is_loopback(host: str) -> bool:
    """Return whether an address is one of this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class PacsPeer(Strict):
    """An archive, or another node of DICOM."""

    ae_title: AETitle | None = Field(None, description="AE title of the peer.")
    addresses: tuple[Network, ...] = Field(
        (),
        description="IP addresses or networks from which it may send series; without any, it may "
        "send none.",
    )
    host: str | None = Field(None, min_length=1, description="Host of its DICOM port.")
    port: Port | None = Field(None, description="Its DICOM port.")
    dicomweb: WebAddress | None = Field(
        None, description="Root of its DICOMweb services, such as `https://pacs.example/dicom-web`."
    )
    user_variable: Variable | None = Field(
        None, description="Environment variable with the user for DICOMweb."
    )
    password_variable: Variable | None = Field(
        None, description="Environment variable with the password for DICOMweb."
    )
    token_variable: Variable | None = Field(
        None, description="Environment variable with a bearer token for DICOMweb, instead."
    )
    retrieve: Retrieval | None = Field(
        None,
        description="How `pacs pull` gets series: `dicomweb`, the default with an address of it, "
        "`move` or `get`.",
    )
    store: Storage | None = Field(
        None,
        description="How results are stored: `dicomweb` (STOW-RS), the default with an address of "
        "it, or `dimse` (C-STORE).",
    )

    @property
    def retrieval(self) -> Retrieval:
        """How series are retrieved."""
        return self.retrieve or ("dicomweb" if self.dicomweb else "move")

    @property
    def storage(self) -> Storage | None:
        """How results are stored, None if they cannot be."""
        if self.store is not None or self.dicomweb is not None:
            return self.store or "dicomweb"
        return "dimse" if self.port is not None else None

    @model_validator(mode="after")
    def _complete(self) -> PacsPeer:
        if not (self.addresses or self.port or self.dicomweb):
            raise ValueError(
                "it can neither send nor be asked: give addresses, host and port, or dicomweb"
            )
        if self.addresses and self.ae_title is None:
            raise ValueError("a peer that sends is known by its ae_title: add it")
        if (self.host is None) != (self.port is None):
            raise ValueError("host and port belong together: give both or none")
        if self.port is not None and self.ae_title is None:
            raise ValueError("a peer with a DICOM port has an ae_title: add it")
        for key, value in (("retrieve", self.retrieve), ("store", self.store)):
            if value == "dicomweb" and self.dicomweb is None:
                raise ValueError(f"{key}: dicomweb needs its address: add dicomweb")
            if value not in (None, "dicomweb") and self.port is None:
                raise ValueError(f"{key}: {value} needs host, port and ae_title: add them")
        self._check_credentials()
        return self

    def _check_credentials(self) -> None:
        basic = (self.user_variable, self.password_variable)
        if (basic[0] is None) != (basic[1] is None):
            raise ValueError("user_variable and password_variable belong together: give both")
        if basic[0] is not None and self.token_variable is not None:
            raise ValueError("give a user with a password, or a token, not both")
        if basic[0] is None and self.token_variable is None:
            return
        if self.dicomweb is None:
            raise ValueError("credentials are for DICOMweb: add dicomweb, or remove them")
        parts = urlsplit(self.dicomweb)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            raise ValueError(
                "credentials would be sent in the clear: use an address with https, or one of "
                "this machine"
            )


class PacsSettings(Strict):
    """Receiving series from archives, and storing results in them."""

    ae_title: AETitle = Field("PARAFOVEA", description="AE title of this side.")
    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="IP address to listen at; 0.0.0.0 for all of this machine.",
    )
    port: Port = Field(11112, description="Port to listen at.")
    peers: dict[str, PacsPeer] = Field({}, description="Peers by name; nobody else is talked to.")
    task: str = Field("nodules", description="Task of received series.")
    modalities: tuple[str, ...] = Field(
        ("CT",), min_length=1, description="Modalities that are predicted; others are ignored."
    )
    store_to: str | None = Field(
        None, description="Peer that gets the results; null for the one that sent the series."
    )
    quiet_seconds: PositiveFloat = Field(
        30.0, description="A series is complete when nothing of it has come for so long."
    )
    max_instance_bytes: Bytes = Field(2**30, description="Most bytes of an object.")
    max_series_bytes: Bytes = Field(4 * 2**30, description="Most bytes of a series.")
    max_series_instances: PositiveInt = Field(20_000, description="Most objects of a series.")
    max_association_bytes: Bytes = Field(
        32 * 2**30, description="Most bytes that one association may send."
    )
    max_associations: PositiveInt = Field(8, description="Most associations at once.")
    patience: PositiveFloat = Field(
        30.0, description="Seconds that a peer may be silent within an exchange."
    )
    give_up_seconds: PositiveFloat = Field(
        86400.0, description="Seconds for which storing the results is tried again."
    )

    @model_validator(mode="after")
    def _known_peers(self) -> PacsSettings:
        for name in self.peers:
            if not PEER_NAME.fullmatch(name):
                raise ValueError(f"peer {name!r}: name it with letters, digits, _ and - alone")
        titles = [peer.ae_title for peer in self.peers.values() if peer.addresses]
        if len(set(titles)) < len(titles):
            raise ValueError("two peers that send have one ae_title: give each its own")
        if self.store_to is not None and self.store_to not in self.peers:
            raise ValueError(f"store_to: peer {self.store_to!r} is not among the peers: add it")
        for name, peer in self.peers.items():
            target = self.peers[self.store_to] if self.store_to else peer
            if peer.addresses and target.storage is None:
                raise ValueError(
                    f"peer {name!r} sends series, but their results cannot be stored: give its "
                    "host and port or its dicomweb, or name another peer in store_to"
                )
        return self

    def target(self, sender: str) -> str:
        """Return the name of the peer that gets the results of what a peer sent."""
        return sender if self.store_to is None else self.store_to
