"""All stages of one sample in one process, with the functions and the paths of the workflow."""

from parafovea.drivers.one_process import (
    Announce,
    run_chain,
    run_sample,
    run_tiles,
    stages_of,
)

__all__ = ["Announce", "run_chain", "run_sample", "run_tiles", "stages_of"]
