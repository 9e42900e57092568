"""Diagnostics of the machine and installation for bug reports."""

from __future__ import annotations

import os
import platform
import shutil
from importlib import metadata

PACKAGES = (
    "parafovea",
    "snakemake",
    "numpy",
    "torch",
    "transformers",
    "lightning",
    "monai",
    "zarr",
    "zarrs",
    "yaozarrs",
    "numcodecs",
    "tifffile",
    "imagecodecs",
    "h5py",
    "nibabel",
    "scipy",
    "scikit-image",
    "connected-components-3d",
    "pydantic",
    "openvino",
    "ray",
    "onnx",
    "onnxscript",
    "onnxruntime",
)

PLUGINS = "snakemake-executor-plugin-", "snakemake-storage-plugin-", "snakemake-logger-plugin-"


def diagnose() -> dict[str, dict[str, str]]:
    """Return versions, devices, codecs and plugins, by group and name.

    Returns
    -------
    dict
        Groups `machine`, `packages`, `devices`, `codecs` and `snakemake plugins`.
    """
    return {
        "machine": {
            "python": platform.python_version(),
            "system": platform.platform(),
            "processors": str(len(os.sched_getaffinity(0))),
            "slurm": shutil.which("sbatch") or "not found",
        },
        "packages": {name: _version(name) for name in PACKAGES},
        "devices": _devices(),
        "codecs": _codecs(),
        "snakemake plugins": _plugins(),
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _devices() -> dict[str, str]:
    import torch

    from parafovea.inference.engines import choose_engine
    from parafovea.runtime.devices import choose_device, computes_bfloat16

    cpu = torch.device("cpu")
    chosen = choose_device()
    found = {
        "chosen": f"{chosen}, engine {choose_engine('auto', chosen)}",
        "cpu": f"{torch.get_num_threads()} threads, bfloat16 {_yes(computes_bfloat16(cpu))}",
    }
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        native = computes_bfloat16(torch.device("cuda", index))
        found[f"cuda:{index}"] = (
            f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB, bfloat16 {_yes(native)}"
        )
    return found


def _codecs() -> dict[str, str]:
    import imagecodecs
    import zarr

    from parafovea.storage import (
        ome_metadata,
        store,  # noqa: F401  (chooses the pipeline)
    )

    available = [
        name
        for name in ("zlib", "lzw", "zstd", "jpeg8k", "jpeg2k", "deflate", "webp")
        if getattr(getattr(imagecodecs, name.upper(), None), "available", False)
    ]
    return {
        "zarr pipeline": str(zarr.config.get("codec_pipeline.path")),
        "OME-Zarr written": ome_metadata.VERSION,
        "imagecodecs": ", ".join(available) or "none",
    }


def _plugins() -> dict[str, str]:
    names = sorted({each.name for each in metadata.distributions()})
    found = {name: _version(name) for name in names if name.startswith(PLUGINS)}
    return found or {"none": "jobs run on this machine only"}


def _yes(value: bool) -> str:
    return "native" if value else "emulated"
