"""The peers of the config, each as the archive that it is for a purpose."""

from __future__ import annotations

from parafovea.errors import ConfigError
from parafovea.pacs.archive import Archive
from parafovea.pacs.dicomweb_peer import DicomwebPeer
from parafovea.pacs.dimse_peer import dimse_peer
from parafovea.settings.pacs import PacsPeer, PacsSettings


def peer_named(settings: PacsSettings, name: str) -> PacsPeer:
    """Return a peer of the config.

    Raises
    ------
    ConfigError
        If there is none of this name.
    """
    peer = settings.peers.get(name)
    if peer is None:
        known = ", ".join(settings.peers) or "there is none"
        raise ConfigError(f"peer {name!r} is not in the config, under pacs.peers: {known}")
    return peer


def source_archive(settings: PacsSettings, name: str) -> Archive:
    """Return the archive from which series of a peer are retrieved.

    Raises
    ------
    ConfigError
        If there is no such peer, or it has no address for it.
    """
    peer = peer_named(settings, name)
    if peer.retrieval == "dicomweb":
        return DicomwebPeer(name, peer, settings)
    return dimse_peer(name, peer, settings)


def target_archive(settings: PacsSettings, name: str) -> Archive:
    """Return the archive in which results are stored.

    Raises
    ------
    ConfigError
        If there is no such peer, or nothing can be stored there.
    """
    peer = peer_named(settings, name)
    if peer.storage is None:
        raise ConfigError(
            f"nothing can be stored at peer {name}: give its host and port, or its dicomweb"
        )
    if peer.storage == "dicomweb":
        return DicomwebPeer(name, peer, settings)
    return dimse_peer(name, peer, settings)
