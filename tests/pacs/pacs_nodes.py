"""A receiver in this process, and a sender: for tests."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from dicom_slices import slice_dataset
from free_port import free_port
from pydicom.dataset import FileDataset
from pynetdicom import AE

from parafovea.pacs.received_objects import ReceivedObject
from parafovea.pacs.receiver import Receiver
from parafovea.settings.pacs import PacsSettings

STUDY = "1.2.826.0.1.3680043.8.498.300"

PEERS: dict[str, Any] = {
    "scanner": {
        "ae_title": "SCANNER",
        "addresses": ["127.0.0.1"],
        "host": "127.0.0.1",
        "port": 9,
    }
}


def pacs_settings(**changes: Any) -> PacsSettings:
    """Return settings with one peer, at a free port."""
    return PacsSettings(**{"port": free_port(), "peers": PEERS, "patience": 3.0, **changes})


def planes(count: int, *, series: str = f"{STUDY}.1", **elements: Any) -> list[FileDataset]:
    """Return slices of a CT."""
    random = np.random.default_rng(3)
    given = {"StudyInstanceUID": STUDY, **elements}
    return [
        slice_dataset(
            random.integers(-1000, 400, (9, 11), np.int16), (0, 0, 2.0 * k), series=series, **given
        )
        for k in range(count)
    ]


@dataclass
class Kept:
    """An intake that keeps everything in memory."""

    taken: dict[str, bytes] = field(default_factory=dict)
    peers: set[str] = field(default_factory=set)
    ended: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None

    def add(self, peer: str, found: ReceivedObject, data: bytes, *, association: int) -> bool:
        if self.error is not None:
            raise self.error
        self.peers.add(peer)
        self.taken[found.instance] = data
        return True

    def released(self, association: int) -> None:
        self.ended.set()


@contextlib.contextmanager
def receiving(settings: PacsSettings, intake: Any) -> Iterator[Receiver]:
    """Run a receiver."""
    receiver = Receiver(settings, intake)
    thread = threading.Thread(target=receiver.serve, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.stop()
        thread.join()
        receiver.close()


def associated(
    settings: PacsSettings,
    contexts: Sequence[tuple[str, str]],
    *,
    calling: str = "SCANNER",
    called: str | None = None,
    source: str = "",
) -> Any:
    """Return an association of a sender, established or not."""
    entity = AE(ae_title=calling)
    entity.dimse_timeout = 5
    for abstract, transfer in contexts:
        entity.add_requested_context(abstract, transfer)
    return entity.associate(
        "127.0.0.1",
        settings.port,
        ae_title=called or settings.ae_title,
        bind_address=(source, 0),
    )


def sent(settings: PacsSettings, *datasets: Any, **options: Any) -> list[int | None]:
    """Send data sets, and return the status of each; None without an answer."""
    pairs = {(str(d.SOPClassUID), str(d.file_meta.TransferSyntaxUID)) for d in datasets}
    association = associated(settings, sorted(pairs), **options)
    assert association.is_established
    connection = association.dul.socket.socket
    statuses = []
    for dataset in datasets:
        try:
            statuses.append(getattr(association.send_c_store(dataset), "Status", None))
        except RuntimeError:
            statuses.append(None)
    association.release()
    # pynetdicom leaves one open that its peer has reset
    connection.close()
    return statuses


def saved(folder: Path, datasets: Sequence[FileDataset]) -> list[Path]:
    """Write data sets as files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for dataset in datasets:
        paths.append(folder / f"{dataset.SOPInstanceUID}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths
