"""Files of the web page: all are sent, none comes from elsewhere, and NiiVue is as released."""

from __future__ import annotations

import gzip
import hashlib
import re

import pytest

from parafovea.service.web_page import FILES, FOLDER, INDEX, NIIVUE, page_file


def test_every_file_of_the_page_is_sent_and_no_other():
    there = {path.name for path in FOLDER.iterdir() if path.is_file()}
    assert there | {NIIVUE} == set(FILES)
    for name in FILES:
        file = page_file(name)
        assert gzip.decompress(file.packed) == file.content


def test_niivue_is_the_file_of_its_package():
    readme = (FOLDER / "vendor/README.md").read_text(encoding="utf-8")
    stated = re.search(rf"`{re.escape(NIIVUE)}`.*`([0-9a-f]{{64}})`", readme)
    assert stated is not None
    assert hashlib.sha256(page_file(NIIVUE).content).hexdigest() == stated[1]
    licences = (FOLDER / "vendor/LICENSES.txt").read_text(encoding="utf-8")
    assert "Copyright (c) 2021, Niivue" in licences
    # it is loaded by this name
    assert f'"./{NIIVUE}"' in page_file("scan_viewer.js").content.decode()


@pytest.mark.parametrize("name", [name for name in FILES if name != NIIVUE])
def test_own_files_name_no_other_host_and_have_no_script_in_the_page(name):
    text = page_file(name).content.decode()
    addresses = set(re.findall(r"https?://[^\s\"')]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}
    # all modules that are imported are files of the page
    assert set(re.findall(r'from "\./([^"]+)"', text)) <= set(FILES)
    if name == INDEX:
        assert re.findall(r"<script[^>]*>(?!</script>)|\son\w+=|style=", text) == []
