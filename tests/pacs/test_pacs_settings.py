"""What the config may say of archives, and what is refused with the reason."""

from __future__ import annotations

import pytest
from pacs_nodes import PEERS
from pydantic import ValidationError

from parafovea.settings.pacs import PacsPeer, PacsSettings

WEB = "https://pacs.example/dicom-web"


@pytest.mark.parametrize(
    ("peer", "reason"),
    [
        ({}, "can neither send nor be asked"),
        ({"addresses": ["10.0.0.5"]}, "known by its ae_title"),
        ({"addresses": ["pacs.example"], "ae_title": "A"}, "no IP address or network"),
        ({"addresses": ["10.0.0.5/8"], "ae_title": "A"}, "no IP address or network"),
        ({"host": "pacs.example"}, "neither send nor be asked"),
        ({"host": "pacs.example", "dicomweb": WEB}, "host and port belong together"),
        ({"host": "pacs.example", "port": 104}, "has an ae_title"),
        ({"ae_title": "A" * 17, "dicomweb": WEB}, "1 to 16 characters"),
        ({"ae_title": "A\\B", "dicomweb": WEB}, "1 to 16 characters"),
        ({"dicomweb": "file:///etc/passwd"}, "begins with http"),
        ({"dicomweb": "https://user:secret@pacs.example"}, "holds no user, password"),
        ({"dicomweb": WEB, "retrieve": "move"}, "move needs host, port and ae_title"),
        ({"ae_title": "A", "host": "h", "port": 1, "store": "dicomweb"}, "needs its address"),
        ({"dicomweb": WEB, "user_variable": "USER"}, "belong together"),
        ({"dicomweb": WEB, "token_variable": "a token, not a name"}, "name of an environment"),
        (
            {"dicomweb": "http://pacs.example/dicom-web", "token_variable": "TOKEN"},
            "sent in the clear",
        ),
    ],
)
def test_a_peer_that_cannot_be_right_is_refused_with_the_reason(peer, reason):
    with pytest.raises(ValidationError, match=reason):
        PacsPeer(**peer)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"peers": {"a/b": {"dicomweb": WEB}}}, "letters, digits, _ and -"),
        ({"store_to": "archive", "peers": PEERS}, "'archive' is not among the peers"),
        (
            {"peers": {**PEERS, "second": {**PEERS["scanner"]}}},
            "two peers that send have one ae_title",
        ),
        (
            {"peers": {"scanner": {"ae_title": "SCANNER", "addresses": ["10.0.0.5"]}}},
            "their results cannot be stored",
        ),
        ({"quiet_seconds": 0}, "greater than 0"),
        ({"unknown": 1}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_be_right_are_refused_with_the_reason(settings, reason):
    with pytest.raises(ValidationError, match=reason):
        PacsSettings(**settings)


def test_a_peer_is_spoken_to_over_dicomweb_unless_said_otherwise():
    both = {"ae_title": "A", "host": "h", "port": 104, "dicomweb": WEB}
    assert (PacsPeer(**both).retrieval, PacsPeer(**both).storage) == ("dicomweb", "dicomweb")
    chosen = PacsPeer(**both, retrieve="get", store="dimse")
    assert (chosen.retrieval, chosen.storage) == ("get", "dimse")
    plain = PacsPeer(ae_title="A", host="h", port=104)
    assert (plain.retrieval, plain.storage) == ("move", "dimse")
    assert PacsPeer(ae_title="A", addresses=["10.0.0.0/24"]).storage is None


def test_results_go_to_the_sender_unless_a_peer_is_named():
    archive = {"archive": {"dicomweb": WEB}}
    assert PacsSettings(peers=PEERS).target("scanner") == "scanner"
    named = PacsSettings(peers={**PEERS, **archive}, store_to="archive")
    assert named.target("scanner") == "archive"
