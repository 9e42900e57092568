"""Draw the tiles of a sample and write its page."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.quality.tiles.refined import RefinedTiles
from parafovea.quality.tiles.segmented import SegmentedTiles

# their reports, for the fingerprint of this script
from parafovea.report.tiles.refined_report import RefinedReport  # noqa: F401
from parafovea.report.tiles.segmented_report import SegmentedReport  # noqa: F401
from parafovea.runtime.job import stage
from parafovea.stages.render_tiles import render_tiles

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

#: How tiles are measured, by the kind of their task.
MEASURES = {"refinement": RefinedTiles, "segmentation": SegmentedTiles}

with stage(snakemake):
    measures = MEASURES[snakemake.params.kind]
    render_tiles(
        *(
            Path(snakemake.input[name])
            for name in ("ledger", "quarantine", "quality", "metrics", "tiles")
        ),
        Path(snakemake.output.html),
        Path(snakemake.output.figures),
        sample=snakemake.wildcards.sample,
        truth=snakemake.params.truth,
        measures=f"{measures.__module__}:{measures.__name__}",
        classes=snakemake.params.classes,
        bands=snakemake.params.bands,
        metadata=snakemake.params.metadata,
        settings=snakemake.params.settings,
    )
