"""All stages of one sample in one process, with the functions and the paths of the workflow."""

from parafovea.pipeline.progress import Announce, Clock
from parafovea.pipeline.samples import run_chain, run_sample, stages_of
from parafovea.pipeline.tiles import run_tiles

__all__ = ["Announce", "Clock", "run_chain", "run_sample", "run_tiles", "stages_of"]
