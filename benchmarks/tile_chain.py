"""What each stage of config/tile_chain.yaml is worth: `python -m benchmarks.tile_chain`."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from benchmarks.water import score_water
from parafovea.errors import ParafoveaError, StoreError, describe

logger = logging.getLogger("benchmarks")

RESULTS = Path("results/tile_chain")
TRUTH = RESULTS / "phantoms/landscape_seed402_classes"


def accuracy(sample: str) -> dict[str, float]:
    """Return the PSNR (dB), RMSE and NDVI RMSE of a sample against its truth, over all pixels."""
    path = RESULTS / sample / "quality.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["metrics"]["accuracy"]["pooled"]
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"{path} is missing or damaged: run snakemake --cores 2 --configfile "
            "config/tile_chain.yaml first"
        ) from error
    return {name: float(found[name]) for name in ("psnr", "rmse", "ndvi_rmse")}


def main() -> int:
    """Log the accuracy of the first two stages and the IoU of the third.

    Returns
    -------
    int
        2 where a result is missing, else 0.
    """
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    logger.setLevel(logging.INFO)
    try:
        for sample in ("seen", "refined"):
            values = accuracy(sample)
            logger.info("%s: %s", sample, ", ".join(f"{k} {v:.4g}" for k, v in values.items()))
        water = score_water(RESULTS / "water", TRUTH)
    except ParafoveaError as error:
        logger.error(describe(error))
        return 2
    logger.info(
        "water: IoU %.3f; NDWI > 0 of the refined tiles %.3f; %d pixels",
        water.model,
        water.ndwi,
        water.pixels,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
