"""The client loads neither torch nor zarr, nor anything else that its extra does not install."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from package_names import IMPORTED
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def test_the_client_needs_no_package_but_those_of_its_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [Requirement(each).name for each in project["optional-dependencies"]["run"]]
    blocked = [IMPORTED.get(name, name.replace("-", "_")) for name in names]
    assert {"torch", "zarr", "numpy", "pydantic"} <= set(blocked)
    code = f"""
import sys
for name in {[*blocked, "fastapi", "uvicorn"]}:
    sys.modules[name] = None
import parafovea
from parafovea.client import InferenceClient
with InferenceClient("http://localhost:8000", api_key="k" * 32) as client:
    for name in ("submit_inference", "wait_for_results", "download_results", "stream_inference"):
        assert callable(getattr(client, name))
print(sorted(name for name in sys.modules if name.startswith("parafovea.")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert eval(done.stdout) == [  # noqa: S307
        "parafovea.client",
        "parafovea.client.inference_client",
        "parafovea.errors",
        "parafovea.runtime",
        "parafovea.runtime.optional_packages",
    ]


def test_a_missing_extra_is_one_error_with_its_command():
    code = """
import sys
sys.modules["httpx"] = None
from parafovea.client import InferenceClient
from parafovea.errors import MissingExtraError
try:
    InferenceClient()
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert '`pip install "parafovea[client]"`' in done.stdout
