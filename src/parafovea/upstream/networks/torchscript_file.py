"""Reading of TorchScript files, which are programs: only of those whose source is trusted."""

from __future__ import annotations

from pathlib import Path

from parafovea.errors import ModelError
from parafovea.models.networks.torchscript_archive import open_torchscript
from parafovea.runtime.file_hash import file_sha256
from parafovea.settings.networks import NETWORK_FILES
from parafovea.upstream.networks.stated import Found, Stated

CODE = "TorchScript is code: the model folder runs it as well, so give it on only with its source"


def read_torchscript(path: Path, stated: Stated, scratch: Path) -> Found:
    """Read a TorchScript file whose source is trusted.

    Parameters
    ----------
    path : Path
        The file.
    stated : Stated
        What the options of the import state; without `trust`, the file is not opened.
    scratch : Path
        Not used.

    Raises
    ------
    ModelError
        If it is not trusted; and as `open_torchscript`.
    """
    if not stated.trust:
        raise ModelError(
            f"{path} is TorchScript, which is code that runs as it is opened: give --trust if you "
            "trust its source, or export the network to ONNX or by torch.export"
        )
    module = open_torchscript(path)
    # kernels of convolutions have the axes of the image behind two of channels
    axes = {tensor.ndim - 2 for tensor in module.parameters() if tensor.ndim in (4, 5)}
    known = {"dimensions": axes.pop()} if len(axes) == 1 else {}
    return Found(
        type="torchscript",
        files={NETWORK_FILES["torchscript"]: path},
        stated=Stated.model_validate(known),
        origin={"format": "torchscript", "file": path.name, "sha256": file_sha256(path)},
        notes=(CODE,),
    )
