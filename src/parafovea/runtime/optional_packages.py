"""Lazy import of optional packages, with warnings and telemetry switched off."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, cast

from parafovea.errors import MissingExtraError

#: Extra of what every run needs, which most others include.
RUN = "run"

#: Packages that only some tasks need, each with the extras of parafovea that install it; the first
#: is the one to name where it is missing.
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "cc3d": (RUN,),
    "einops": ("train",),
    "fastapi": ("serve",),
    "fastremap": (RUN,),
    "h5py": (RUN,),
    "highdicom": ("pacs",),
    "httpx": ("client", "pacs"),
    "huggingface_hub": ("dinov3",),
    "imagecodecs": (RUN,),
    "jinja2": (RUN,),
    "lightning": ("train",),
    "markupsafe": (RUN,),
    "matplotlib": (RUN,),
    "mmh3": ("remote",),
    "monai": ("train",),
    "nibabel": (RUN,),
    "nrrd": (RUN,),
    "numcodecs": (RUN,),
    "numpy": (RUN,),
    "obstore": ("remote",),
    "onnx": ("onnx",),
    "onnxruntime": ("onnx",),
    "onnxscript": ("onnx",),
    "openvino": ("openvino",),
    "packaging": (RUN,),
    "pandas": (RUN,),
    "PIL": (RUN,),
    "plotly": ("report3d",),
    "psutil": (RUN,),
    "pydantic": (RUN,),
    "pydicom": ("dicom", "pacs"),
    "pynetdicom": ("pacs",),
    "pystac": ("optical",),
    "python_multipart": ("serve", "pacs"),
    "rasterio": ("optical",),
    "ray": ("ray",),
    "rich": (RUN,),
    "rocrate": ("crate",),
    "safetensors": (RUN,),
    "scipy": (RUN,),
    "skimage": (RUN,),
    "snakemake": (RUN,),
    "tifffile": (RUN,),
    "torch": (RUN,),
    "transformers": ("dinov3",),
    "typer": (RUN,),
    "uvicorn": ("serve",),
    "websockets": ("client", "serve"),
    "yaml": (RUN,),
    "yaozarrs": (RUN,),
    "zarr": (RUN,),
    "zarrs": (RUN,),
}


def is_installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


def require_extras(needs: Mapping[str, str]) -> None:
    """Make sure that all packages of some extras are installed.

    Parameters
    ----------
    needs : mapping of str to str
        What needs an extra, such as "task 'cell' trains a model", by the name of the extra.

    Raises
    ------
    MissingExtraError
        One for all extras, with the command that installs what is missing.
    """
    found = {
        extra: [name for name in EXTRAS if extra in EXTRAS[name] and not is_installed(name)]
        for extra in needs
    }
    missing = {extra: packages for extra, packages in found.items() if packages}
    if missing:
        lines = [f"{needs[extra]} ({', '.join(missing[extra])})" for extra in missing]
        raise MissingExtraError(
            f"packages are not installed that this needs: {'; '.join(lines)}: "
            f"run {_command(sorted(missing))}"
        )


def missing_extra(error: ImportError) -> MissingExtraError | None:
    """Return the error to raise for one of Python, None if no optional package is missing.

    Parameters
    ----------
    error : ImportError
        Such as `ModuleNotFoundError` of a package in `EXTRAS`.
    """
    package = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or package not in EXTRAS:
        return None
    extra = EXTRAS[package][0]
    what = f"{package} is not installed"
    if extra == RUN:
        what = f"parafovea is installed without what its runs need ({package} is missing)"
    return MissingExtraError(f"{what}: run {_command([extra])}")


def _command(extras: Sequence[str]) -> str:
    return f'`pip install "parafovea[{",".join(extras)}]"`'


@contextlib.contextmanager
def extras_named() -> Iterator[None]:
    """Turn the error of a missing optional package into one that says how to install it.

    Raises
    ------
    MissingExtraError
        If a package in `EXTRAS` is not installed; any other error is left as it is.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        found = missing_extra(error)
        if found is None:
            raise
        raise found from error


def import_extra(package: str) -> Any:
    """Import an optional package.

    Parameters
    ----------
    package : str
        Import name of the package, one of `EXTRAS`.

    Returns
    -------
    module
        The package; untyped, since it may be missing when types are checked.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    with extras_named():
        return importlib.import_module(package)


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which otherwise sends an event at every import.

    OpenVINO sends through the package `openvino_telemetry`, and sends nothing if that cannot be
    imported; so this process hides it. Files and the user's opt-in setting do not change.

    Raises
    ------
    MissingExtraError
        If OpenVINO is not installed.
    """
    modules = cast(dict[str, ModuleType | None], sys.modules)
    modules.setdefault("openvino_telemetry", None)
    return import_extra("openvino")


def import_onnxruntime() -> Any:
    """Import ONNX Runtime and switch off its telemetry, which exists on Windows only.

    Raises
    ------
    MissingExtraError
        If ONNX Runtime is not installed.
    """
    runtime = import_extra("onnxruntime")
    runtime.disable_telemetry_events()
    return runtime


@contextlib.contextmanager
def older_torch_allowed() -> Iterator[None]:
    """Silence deprecation warnings of torch that are caused by torch or by exporters.

    They concern TorchScript, which torch's own compiler still imports, and a pytree function.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        warnings.filterwarnings("ignore", "`isinstance.treespec", FutureWarning)
        yield
