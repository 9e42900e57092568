"""Pictures of tiles before and after are those of their values, worst first, in one stretch."""

from __future__ import annotations

import numpy as np
from PIL import Image
from tile_results import CLASSES, REFINED, SEGMENTED, write_folder

from parafovea.formats.tiles.ledger import read_ledger
from parafovea.kinds.reference import resolve
from parafovea.quality.tiles.measures import tile_measures
from parafovea.quality.tiles.tile_arrays import TileFiles
from parafovea.report.tiles.band_pictures import RefinedTile
from parafovea.report.tiles.stretch import natural, stretch_of
from parafovea.report.tiles.tile_pairs import write_tile_pairs
from parafovea.stages.measure_tiles import measure_tiles
from parafovea.storage.class_colours import class_colours
from parafovea.storage.layout import SampleResults


def written(root, how, kind, most):
    """Return the pairs of a measured folder of tiles, its entries, and a reader of them."""
    folder = write_folder(root, kind=kind)
    results = SampleResults(root / "results")
    measure_tiles(
        folder.ledger,
        folder.quarantine,
        results.quality,
        results.quality_table,
        results.tile_quality,
        source=str(root / "source"),
        truth=None,
        limits={},
        **how,
    )
    own = tile_measures(how["measures"], classes=how["classes"], bands=how["bands"])
    files = TileFiles.of(how["bands"], own.outputs, truth=None, metadata="")
    (root / "pictures").mkdir()
    report = resolve(own.report)(how["classes"])
    pairs = write_tile_pairs(
        folder.ledger,
        results.tile_quality,
        root / "pictures",
        report=report,
        files=files,
        most=most,
    )
    return pairs, {entry.name: entry for entry in read_ledger(folder.ledger)}, files


def pixels(root, name):
    with Image.open(root / "pictures" / name) as picture:
        return np.asarray(picture) / 255


def test_refined_tiles_are_drawn_in_the_stretch_of_their_input(tmp_path):
    pairs, entries, files = written(tmp_path, REFINED, "refinement", 3)
    assert len(pairs) == 3
    assert [pair.before for pair in pairs] == ["before_1.png", "before_2.png", "before_3.png"]
    for pair in pairs:
        tile = RefinedTile.read(entries[pair.name], files)
        stretch = stretch_of(tile.source)
        assert (pair.height, pair.width) == tile.source.shape[1:]
        for name, image in ((pair.before, tile.source), (pair.after, tile.refined)):
            wanted = natural(image, stretch)
            assert np.abs(pixels(tmp_path, name) - wanted).max() <= 0.5 / 255 + 1e-6
    # the largest change is the first
    changes = [
        np.abs(pixels(tmp_path, pair.before) - pixels(tmp_path, pair.after)).mean()
        for pair in pairs
    ]
    assert min(changes) > 0


def test_segmented_tiles_are_drawn_with_the_colours_of_their_classes(tmp_path):
    pairs, entries, files = written(tmp_path, SEGMENTED, "segmentation", 2)
    colours = np.array(
        [[int(each[k : k + 2], 16) for k in (1, 3, 5)] for each in class_colours(len(CLASSES))]
    )
    for pair in pairs:
        classes = files.read_classes(entries[pair.name])
        known = classes < len(CLASSES)
        shown = (pixels(tmp_path, pair.after) * 255).round()
        np.testing.assert_array_equal(shown[known], colours[classes[known]])
        assert pixels(tmp_path, pair.before).shape == (*classes.shape, 3)


def test_there_are_no_more_pairs_than_tiles(tmp_path):
    pairs, entries, _ = written(tmp_path, REFINED, "refinement", 100)
    assert sorted(pair.name for pair in pairs) == sorted(entries)
    assert len(list((tmp_path / "pictures").iterdir())) == 2 * len(pairs)
