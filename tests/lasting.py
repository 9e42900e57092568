"""What a result is made of that the next run makes again."""

from __future__ import annotations

import json
from pathlib import Path


def lasting(path: Path) -> bytes:
    """Return the content of a result, of a tile's JSON without when and how fast it was made."""
    content = path.read_bytes()
    if path.suffix != ".json" or path.parent.name != "tiles":
        return content
    values = json.loads(content)
    del values["timestamp"], values["processing"]["processing_time_ms"]
    return json.dumps(values).encode()
