import logging
import subprocess
import sys

import pytest

from parafovea.runtime.library_logs import QUIET, quiet_libraries

PROGRAM = """
import logging
from parafovea.runtime.library_logs import quiet_libraries
quiet_libraries()
logging.getLogger("rasterio._env").error("not castable")
logging.getLogger("tifffile").warning("missing")
logging.getLogger("other").warning("said")
"""


def test_messages_of_image_libraries_stay_out_of_the_log_and_the_terminal():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.stdout == ""
    assert done.stderr.splitlines() == ["said"]


@pytest.mark.parametrize("name", QUIET)
def test_they_still_reach_who_listens_to_the_library_itself(name, monkeypatch):
    log = logging.getLogger(name)
    monkeypatch.setattr(log, "propagate", True)
    quiet_libraries()
    heard = []
    handler = logging.Handler()
    handler.emit = heard.append
    log.addHandler(handler)
    try:
        logging.getLogger(f"{name}._inner").warning("data are missing")
    finally:
        log.removeHandler(handler)
    assert [record.getMessage() for record in heard] == ["data are missing"]
