"""Lazy import of optional packages, with warnings and telemetry switched off."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any, cast

from parafovea.errors import MissingExtraError


def is_installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


def import_extra(package: str, *, extra: str) -> Any:
    """Import an optional package.

    Parameters
    ----------
    package : str
        Import name of the package.
    extra : str
        The extra of parafovea that installs it.

    Returns
    -------
    module
        The package; untyped, since it may be missing when types are checked.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f'{error.name} is not installed: run `pip install "parafovea[{extra}]"`'
        ) from error


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
    return import_extra("openvino", extra="openvino")


def import_onnxruntime() -> Any:
    """Import ONNX Runtime and switch off its telemetry, which exists on Windows only.

    Raises
    ------
    MissingExtraError
        If ONNX Runtime is not installed.
    """
    runtime = import_extra("onnxruntime", extra="onnx")
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
