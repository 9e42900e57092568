"""Write the locks beside this file: every package, with versions and hashes, for all Pythons.

``make lock`` runs it. Versions in the present locks stay as they are where pyproject.toml allows
them; what is to be updated is named: ``make lock UPGRADE="zarr snakemake"``.

run.txt : what ``make demo`` and other runs on volumes and tiles need.
dev.txt : this, all extras but OpenVINO and Ray, and what tests and ``make lint`` need.
torch-cuda.txt : torch for NVIDIA GPUs, and the libraries that only it needs.

parafovea.yaml : the packages of all extras but OpenVINO and Ray, for conda and containers.

torch-cpu.txt, torch without CUDA, is written by hand, since its wheels are not on PyPI.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parent / "pyproject.toml"

#: Extras in run.txt: what every run needs, the 3D page of a scan, and jobs on a cluster.
RUN = ("run", "report3d", "slurm")

OLDEST = "3.11"

#: Extras in parafovea.yaml.
ALL = (
    *RUN,
    "train",
    "dinov3",
    "optical",
    "dicom",
    "pacs",
    "remote",
    "serve",
    "client",
    "onnx",
    "crate",
)

#: parafovea.yaml above its packages.
CONDA = """\
# For snakemake --software-deployment-method conda, and for images by snakemake --containerize.
# Written by `make lock`. Parafovea itself is installed by parafovea.post-deploy.sh beside it.
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python =3.11
  - pip
  - pip:
      - --extra-index-url https://download.pytorch.org/whl/cpu
"""

#: Lines above each lock.
HEADS = {
    "run.txt": "What runs need, as tested, for Python 3.11 to 3.13; torch is in torch-cpu.txt.",
    "dev.txt": "What runs, extras but OpenVINO and Ray, tests, linters need; torch is beside it.",
    "torch-cuda.txt": "torch for NVIDIA GPUs, instead of torch-cpu.txt.",
}


def compiled(name: str, *arguments: str, given: str = "") -> str:
    """Return the lock of some requirements, which keeps the versions in the present one.

    Parameters
    ----------
    name : str
        File of the lock, relative to this folder.
    *arguments : str
        Files, extras and options of ``uv pip compile``.
    given : str
        Requirements besides those of the files.
    """
    upgrades = [word for package in sys.argv[1:] for word in ("--upgrade-package", package)]
    command = [
        sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal",
        "--python-version", OLDEST, "--generate-hashes", "--no-annotate", "--no-header",
        *upgrades, *arguments, "-", "--output-file", str(HERE / name),
    ]  # fmt: skip
    subprocess.run(command, input=given, text=True, check=True)  # noqa: S603
    return (HERE / name).read_text(encoding="utf-8")


def names(lock: str) -> list[str]:
    """Return the names of the packages in a lock."""
    return re.findall(r"^([a-z0-9._-]+)==", lock, flags=re.M)


def without(packages: list[str]) -> list[str]:
    """Return the options that leave packages out of a lock."""
    return [word for package in packages for word in ("--no-emit-package", package)]


def write(name: str, lock: str) -> None:
    """Write a lock with the lines above it."""
    (HERE / name).write_text(
        f"# {HEADS[name]}\n# Written by `make lock`.\n{lock}", encoding="utf-8"
    )


def main() -> None:
    """Write all locks."""
    (torch,) = re.findall(r"^torch==\S+", (HERE / "torch-cpu.txt").read_text(), flags=re.M)
    everything = names(compiled("torch-cuda.txt", given=torch))
    cuda = [name for name in everything if re.match("torch|triton|nvidia|cuda", name)]
    shared = [name for name in everything if name not in cuda]
    write("torch-cuda.txt", compiled("torch-cuda.txt", *without(shared), given=torch))
    project, built = str(PROJECT), f"hatchling\n{torch}\n"
    # run.txt follows dev.txt, so that both have the same versions
    dev = compiled("dev.txt", project, "--extra", "dev", *without(cuda), given=built)
    write("dev.txt", dev)
    extras = [word for extra in RUN for word in ("--extra", extra)]
    same = ("--constraints", str(HERE / "dev.txt"))
    given = [word for extra in ALL for word in ("--extra", extra)]
    with tempfile.TemporaryDirectory() as folder:
        place = f"{folder}/all.txt"
        pins = compiled(place, project, *given, *same, *without(cuda), given=torch)
    pinned = [torch, *re.findall(r"^[a-z0-9._-]+==[^\\\n]*", pins, flags=re.M)]
    lines = "".join(f"      - {pin.strip()}\n" for pin in pinned)
    (HERE / "parafovea.yaml").write_text(CONDA + lines, encoding="utf-8")
    write("run.txt", compiled("run.txt", project, *extras, *same, *without(cuda), given=built))


if __name__ == "__main__":
    main()
