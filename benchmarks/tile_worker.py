"""A folder of tiles in a process of its own; prints its peak memory.

Run by `tile_speed`: `python -m benchmarks.tile_worker SOURCE MODEL OUT`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.memory_worker import peak_bytes
from parafovea.stages.predict_tiles import predict_tiles
from parafovea.storage.layout import SampleResults


def main() -> None:
    """Predict all tiles."""
    source, model, out = sys.argv[1:]
    ledger = SampleResults(Path(out)).tile_share(1)
    predict_tiles(ledger, source=source, model=model, settings={"batch_size": 8}, shard=1)
    print(json.dumps({"peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
