"""Networks of MONAI, by the name of a class, its arguments, and a file of weights."""

from __future__ import annotations

from pathlib import Path

from parafovea.errors import ModelError
from parafovea.models.networks.monai_network import ARCHITECTURES
from parafovea.upstream.networks.monai_weights import monai_found
from parafovea.upstream.networks.state_files import read_state_file
from parafovea.upstream.networks.stated import Found, Stated


def read_monai_class(path: Path, stated: Stated, scratch: Path) -> Found:
    """Read the weights of a network whose class and arguments the options state.

    Parameters
    ----------
    path : Path
        A .safetensors file, or a dictionary of weights as `torch.save` writes it.
    stated : Stated
        Class and arguments, and what else the options state.
    scratch : Path
        Folder for temporary files.

    Raises
    ------
    ModelError
        If no class is stated, or weights and class do not fit each other.
    """
    if stated.architecture is None:
        raise ModelError(
            f"{path} holds weights alone: name the class with --network, one of "
            f"{', '.join(ARCHITECTURES)}, and its arguments with --arguments JSON"
        )
    return monai_found(
        stated.architecture,
        stated.arguments or {},
        read_state_file(path),
        scratch,
        options=stated,
        stated=Stated(),
    )
