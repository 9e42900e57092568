"""The table of requests in docs/cluster.md is what the functions say; `--write` writes it anew."""

import sys
from pathlib import Path

from parafovea.geometry.grid import Grid
from parafovea.kinds import kind_named
from parafovea.kinds.stages import sample_stages, stages
from parafovea.models.model_json import read_spec
from parafovea.planning.requests import request
from parafovea.planning.work import Work
from parafovea.settings.inference import InferenceSettings

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/cluster.md"
BEGIN = "<!-- requests: written by tests/planning/test_cluster_documentation.py --write -->\n"
END = "<!-- end of requests -->"
SIDES = (256, 1024, 4096, 10240)

#: Those whose volumes may be such cubes; a mosaic is a plane.
KINDS = ("segmentation", "detection")


def table() -> str:
    recipe = read_spec(ROOT / "resources/models/cell")
    lines = ["| rule | " + " | ".join(f"{side}³" for side in SIDES) + " |"]
    lines.append("|---" * (len(SIDES) + 1) + "|")
    shown = [s for kind in KINDS for s in sample_stages(kind_named(kind), "volume")]
    for name, stage in stages().items():
        # what runs another stage's function asks like that stage
        if stage not in shown or stage.function:
            continue
        cells = []
        for side in SIDES:
            grid = Grid((side,) * 3, recipe.spacing)
            asked = request(stage, Work(grid, recipe, InferenceSettings(shards=8)))
            cells.append(f"{asked.mem_mb} MB, {asked.runtime} min")
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def written(page: str) -> str:
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


def test_the_table_of_requests_is_up_to_date():
    page = PAGE.read_text(encoding="utf-8")
    assert BEGIN in page
    assert written(page) == page, "run: python tests/planning/test_cluster_documentation.py --write"


if __name__ == "__main__" and "--write" in sys.argv:
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
