"""A folder of tiles in a process of its own; prints its peak memory.

Run by `tile_speed`: `python -m benchmarks.tile_worker SOURCE MODEL OUT`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.memory_worker import peak_bytes
from benchmarks.stages import refine_tiles
from parafovea.settings.inference import InferenceSettings


def main() -> None:
    """Predict all tiles."""
    source, model, out = map(Path, sys.argv[1:])
    settings = InferenceSettings(batch_size=8)
    refine_tiles(source, model, out, settings)
    print(json.dumps({"peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
