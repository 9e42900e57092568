"""Put all samples into one table, one figure and one page."""

from pathlib import Path
from typing import TYPE_CHECKING

from parafovea.report.detections import scan_view
from parafovea.report.segmentation import sample_view
from parafovea.report.tiles import refined_report, segmented_report
from parafovea.runtime.job import stage
from parafovea.stages.summarize_cohort import summarize_cohort

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

#: What gathers the part of a sample, by the kind of its task.
VOLUME_PAGES = {"segmentation": sample_view, "detection": scan_view}
TILE_PAGES = {"refinement": refined_report, "segmentation": segmented_report}

with stage(snakemake):
    html = Path(snakemake.output.html)
    kinds = snakemake.params.get("kinds", {})
    detections, froc, tiles = (
        snakemake.output.get(name) for name in ("detections", "froc", "tiles")
    )
    tiled = {Path(path).parent for path in snakemake.input.get("tile_tables", [])}
    samples = {}
    for name, task in snakemake.params.tasks.items():
        folder, kind = html.parent / name, kinds.get(task, "segmentation")
        tiles_table = folder in tiled
        page = (TILE_PAGES if tiles_table else VOLUME_PAGES)[kind]
        samples[name] = {
            "task": task,
            "folder": folder,
            "page": f"{page.__name__}:cohort_view",
            "objects": page is sample_view,
            "detections": page is scan_view,
            "tiles": tiles_table,
        }
    summarize_cohort(
        Path(snakemake.output.quality),
        Path(snakemake.output.objects),
        Path(snakemake.output.figure),
        html,
        Path(detections) if detections else None,
        Path(froc) if froc else None,
        Path(tiles) if tiles else None,
        samples=samples,
    )
