"""Whether jobs can be submitted to a Slurm cluster, asked before a run deletes what it remakes."""

from __future__ import annotations

import shutil
import subprocess

from parafovea.errors import ConfigError

#: Seconds to wait for the cluster's answer.
PATIENCE = 60


def require_slurm() -> None:
    """Make sure that a Slurm cluster answers from this machine.

    Raises
    ------
    ConfigError
        If its commands are not installed, or its controller does not answer.
    """
    fix = (
        "run this on a login node of the cluster, or without --profile slurm (snakemake --cores 2)"
    )
    asked = shutil.which("sinfo")
    if asked is None or shutil.which("sbatch") is None:
        raise ConfigError(f"this machine has no Slurm (sbatch and sinfo are not found): {fix}")
    try:
        done = subprocess.run(  # noqa: S603
            [asked, "--noheader", "--format=%R"],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(f"Slurm does not answer within {PATIENCE} s: {fix}") from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"sinfo ended with status {done.returncode}"]
        raise ConfigError(f"no Slurm cluster answers here ({lines[-1]}): {fix}")
