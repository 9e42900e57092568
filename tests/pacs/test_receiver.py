"""Who may send what to the receiver, and that what arrives is what was sent."""

from __future__ import annotations

import io
import logging
import socket
import struct
import time

import numpy as np
import pydicom
import pytest
from dicom_slices import PATIENT
from pacs_nodes import PEERS, Kept, associated, pacs_settings, planes, receiving, sent
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import Verification

from parafovea.errors import ConfigError
from parafovea.pacs.received_objects import RefusedObject
from parafovea.pacs.receiver import Receiver, decodable_syntaxes

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def test_what_arrives_is_what_was_sent_to_the_last_byte():
    settings, intake = pacs_settings(), Kept()
    slices = planes(3)
    # frames of the protocol end within and at the ends of objects
    slices += planes(2, series="1.2.3.4", PixelData=np.arange(70_001, dtype=np.int16).tobytes())
    with receiving(settings, intake):
        assert sent(settings, *slices) == [0] * 5
    assert intake.peers == {"scanner"}
    for dataset in slices:
        found = pydicom.dcmread(io.BytesIO(intake.taken[dataset.SOPInstanceUID]))
        assert found.PixelData == dataset.PixelData
        assert found == dataset
        assert found.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


def test_an_echo_is_answered_and_the_syntaxes_of_slices_are_those_that_are_read():
    settings = pacs_settings()
    assert {ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless} <= {
        *decodable_syntaxes()
    }
    video = "1.2.840.10008.1.2.4.102"
    with receiving(settings, Kept()):
        association = associated(
            settings,
            [
                (Verification, ImplicitVRLittleEndian),
                (CTImageStorage, JPEGLSLossless),
                (CTImageStorage, video),
            ],
        )
        assert association.send_c_echo().Status == 0
        accepted = {
            (c.abstract_syntax, c.transfer_syntax[0]) for c in association.accepted_contexts
        }
        association.release()
    assert (CTImageStorage, JPEGLSLossless) in accepted
    assert (CTImageStorage, video) not in accepted


@pytest.mark.parametrize(
    "options",
    [{"calling": "STRANGER"}, {"called": "ANOTHER"}],
    ids=["unknown AE title", "called by another name"],
)
def test_strangers_are_refused(options):
    settings, intake = pacs_settings(), Kept()
    with receiving(settings, intake):
        association = associated(settings, [(CTImageStorage, ExplicitVRLittleEndian)], **options)
        assert association.is_rejected
    assert intake.taken == {}


def test_a_connection_from_an_unknown_address_is_closed_before_anything_is_read():
    peers = {"scanner": {**PEERS["scanner"], "addresses": ["127.0.0.2"]}}
    settings = pacs_settings(peers=peers)
    with receiving(settings, Kept()):
        with socket.create_connection(("127.0.0.1", settings.port), timeout=5) as stranger:
            assert stranger.recv(1) == b""
        known = associated(settings, [(CTImageStorage, ExplicitVRLittleEndian)], source="127.0.0.2")
        assert known.is_established
        known.release()


def test_the_title_of_one_peer_from_the_address_of_another_is_refused():
    second = {**PEERS["scanner"], "ae_title": "SECOND", "addresses": ["127.0.0.2"]}
    settings = pacs_settings(peers={**PEERS, "second": second})
    with receiving(settings, Kept()):
        found = associated(settings, [(CTImageStorage, ExplicitVRLittleEndian)], calling="SECOND")
        assert found.is_rejected


@pytest.mark.parametrize(
    "uid", ["../../etc/passwd", "1.2.3/4", "..", "1..2", "", "1.2.a", "1" * 65]
)
def test_a_uid_that_is_none_is_refused_and_names_no_file(uid, caplog):
    settings, intake = pacs_settings(), Kept()
    (dataset,) = planes(1)
    dataset.SeriesInstanceUID = uid
    with caplog.at_level(logging.DEBUG), receiving(settings, intake):
        assert sent(settings, dataset) == [0xC000]
    assert intake.taken == {}
    assert "SeriesInstanceUID of the object is missing or no UID" in caplog.text
    assert "passwd" not in caplog.text


def test_an_object_that_is_not_what_was_announced_is_refused():
    settings, intake = pacs_settings(), Kept()
    (dataset,) = planes(1)
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    other = planes(1)[0]
    with receiving(settings, intake):
        association = associated(settings, [(CTImageStorage, ExplicitVRLittleEndian)])
        # the command names one instance, the data another
        association._reactor_checkpoint.clear()
        while not association._is_paused:
            time.sleep(0.01)
        request = C_STORE()
        request.MessageID, request.Priority = 1, 2
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CTImageStorage, "1.2.3"
        other.SOPInstanceUID = "1.2.4"
        request.DataSet = io.BytesIO(encode(other, is_implicit_vr=False, is_little_endian=True))
        association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
        _, answer = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()
        association.release()
    assert answer.Status == 0xA900
    assert intake.taken == {}


def test_what_is_no_slice_is_accepted_and_ignored():
    # archives forward whole studies, with our own results among them
    settings, intake = pacs_settings(), Kept()
    capture, segmentation, overview, other = planes(4)
    for dataset, kind, modality in (
        (capture, SecondaryCaptureImageStorage, "CT"),
        (segmentation, SegmentationStorage, "SEG"),
        (other, CTImageStorage, "MR"),
    ):
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = kind
        dataset.Modality = modality
    overview.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    with receiving(settings, intake):
        assert sent(settings, capture, segmentation, overview, other) == [0] * 4
    assert intake.taken == {}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RefusedObject("the disk of the receiver is almost full", full=True), 0xA700),
        (RefusedObject("objects of one series name two studies", full=False), 0xC000),
        (OSError(28, "No space left on device", "Secretname"), 0xA700),
        (ValueError("Secretname"), 0x0110),
    ],
)
def test_each_failure_has_its_status_and_none_names_a_patient(error, status, caplog):
    settings, intake = pacs_settings(), Kept(error=error)
    with caplog.at_level(logging.DEBUG), receiving(settings, intake):
        assert sent(settings, *planes(1)) == [status]
    assert "an object from scanner" in caplog.text
    assert not any(secret in caplog.text for secret in (*PATIENT.values(), "Secretname"))


def test_an_object_without_end_is_cut_off_at_the_limit():
    settings, intake = pacs_settings(max_instance_bytes=1000), Kept()
    slices = planes(1, PixelData=bytes(3 * 2**20), Rows=1024, Columns=1536)
    small = planes(1)
    with receiving(settings, intake):
        assert sent(settings, *slices) == [None]
        assert intake.ended.wait(10)
        # others go on
        assert sent(settings, *small) == [0]
    assert list(intake.taken) == [small[0].SOPInstanceUID]


def test_an_association_without_end_is_cut_off_at_the_limit():
    settings, intake = pacs_settings(max_association_bytes=2**20), Kept()
    slices = planes(5, PixelData=bytes(300_000), Rows=300, Columns=500)
    with receiving(settings, intake):
        statuses = sent(settings, *slices)
    assert statuses[:3] == [0] * 3
    assert statuses[-1] is None


def test_a_frame_that_states_gigabytes_is_cut_off_at_the_limit():
    settings, intake = pacs_settings(max_instance_bytes=1000), Kept()
    with (
        receiving(settings, intake),
        socket.create_connection(("127.0.0.1", settings.port), timeout=10) as hostile,
    ):
        hostile.sendall(struct.pack(">BBL", 1, 0, 2**32 - 1))
        piece, total = bytes(2**16), 0
        with pytest.raises(OSError):
            while total < 2**28:
                total += hostile.send(piece)
        assert total < 2**27


def test_a_silent_peer_is_let_go_of():
    settings, intake = pacs_settings(patience=1.0), Kept()
    with receiving(settings, intake):
        association = associated(settings, [(CTImageStorage, ExplicitVRLittleEndian)])
        assert intake.ended.wait(60)
        association.join(10)
        assert not association.is_established


def test_without_a_peer_that_may_send_nothing_listens():
    peers = {"archive": {"dicomweb": "http://127.0.0.1:8042/dicom-web"}}
    with pytest.raises(ConfigError, match=r"no peer may send: name those"):
        Receiver(pacs_settings(peers=peers), Kept())


def test_a_port_in_use_is_named():
    settings = pacs_settings()
    with receiving(settings, Kept()), pytest.raises(ConfigError, match=r"cannot be listened at"):
        Receiver(settings, Kept())
