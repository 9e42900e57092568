"""What became of the real tiles: a table by date, a figure by month, a table of the flood."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path

import pandas as pd

from benchmarks.water import score_water
from parafovea.chain.figure_stages import MEASURED
from parafovea.quality.tiles.tile_quality import read_tile_quality
from parafovea.report.tiles.month_figure import DEGRADED, MEASURES, Measure, draw_months
from parafovea.runtime.shipped_files import publication_style
from parafovea.storage.store import replacing

logger = logging.getLogger("benchmarks")


#: The two refinements, by the end of their samples' names: the name in tables.
REFINED = {"": "refined", "_optical": "phantoms"}

#: Of the figure: words for each kind of image.
LABELS = MEASURED["real_tiles"].options["labels"]

#: Kinds of images, the one first that is refined.
KINDS = (DEGRADED, *REFINED.values())

#: Of the flood: the sample whose classes are scored, and what its images are.
FLOOD = {
    "water_flood": "as measured",
    "water_flood_dates": "as measured, refined (other dates)",
    "water_flood_optical": "as measured, refined (phantoms)",
    "water_flood_poor": "degraded",
    "water_poor_dates": "degraded, refined (other dates)",
    "water_poor_optical": "degraded, refined (phantoms)",
}


def write_tables(data: Path, results: Path) -> None:
    """Write `dates.tsv` and its figure, `places.tsv` and `flood.tsv` beside the results.

    Parameters
    ----------
    data : Path
        Folder of the tiles.
    results : Path
        Folder of the workflow's results.

    Raises
    ------
    StoreError
        If a result is missing.
    """
    for sample in ("test", "places"):
        table = compared(results, sample)
        name = {"test": "dates", "places": "places"}[sample]
        _write(table, results / f"{name}.tsv")
        logger.info("%s\n%s", name, _means(table).to_string())
        for kind in REFINED.values():
            _tell_worse(table, kind, name)
        if sample == "test":
            _draw_dates(table, results)
    flood = flood_table(data, results)
    _write(flood, results / "flood.tsv")
    logger.info("flood\n%s", flood.to_string())


def compared(results: Path, sample: str) -> pd.DataFrame:
    """Return the metrics of each tile of a sample against its true image.

    Parameters
    ----------
    results : Path
        Folder of the workflow's results.
    sample : str
        Its name; the model of phantoms has one of its own, which ends in `_optical`.

    Returns
    -------
    DataFrame
        A row a tile, by its name: the month, then METRIC.degraded, METRIC.refined and
        METRIC.phantoms of each metric.
    """
    tables = {
        kind: read_tile_quality(results / f"{sample}{end}" / "tile_quality.tsv")
        for end, kind in REFINED.items()
    }
    first = tables["refined"]
    found = {"month": first["month"].astype(int)}
    for measure in MEASURES:
        found[f"{measure.name}.degraded"] = first[f"accuracy_input.{measure.name}"]
        for kind, table in tables.items():
            found[f"{measure.name}.{kind}"] = table[f"accuracy.{measure.name}"]
    return pd.DataFrame(found).sort_index()


def flood_table(data: Path, results: Path) -> pd.DataFrame:
    """Return the IoU of water by the model and by the NDWI, a row each kind of image."""
    rows = {
        image: vars(score_water(results / sample, data / "flood_classes"))
        for sample, image in FLOOD.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("image")


def worse(table: pd.DataFrame, measure: Measure, kind: str) -> list[str]:
    """Return the tiles that a refinement did not bring closer to the truth by a metric."""
    gain = table[f"{measure.name}.{kind}"] - table[f"{measure.name}.degraded"]
    return list(table.index[~(gain > 0 if measure.rises else gain < 0)])


def _tell_worse(table: pd.DataFrame, kind: str, name: str) -> None:
    for measure in MEASURES:
        tiles = worse(table, measure, kind)
        shown = f": {', '.join(tiles)}" if tiles else ""
        logger.info(
            "%s, %s: %s no better on %d of %d%s",
            name,
            kind,
            measure.label,
            len(tiles),
            len(table),
            shown,
        )


def _means(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over the tiles, a row each kind of image, a column each metric."""
    rows = {
        kind: {each.name: table[f"{each.name}.{kind}"].mean() for each in MEASURES}
        for kind in KINDS
    }
    return pd.DataFrame.from_dict(rows, orient="index").round(4)


def _write(table: pd.DataFrame, path: Path) -> None:
    with replacing(path) as partial:
        table.to_csv(partial, sep="\t", float_format="%.5g")


def _draw_dates(table: pd.DataFrame, results: Path) -> None:
    """Draw dates.svg, .pdf and .png, as `snakemake figures` draws the table of docs/figures."""
    with ExitStack() as stack:
        files = {
            stack.enter_context(replacing(results / f"dates{suffix}")): suffix
            for suffix in (".svg", ".pdf", ".png")
        }
        draw_months(table, files, style=Path(publication_style()), labels=LABELS)
