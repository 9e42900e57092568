"""Steps: the parts of the chain by which results are shown and cleaned."""

import itertools

from parafovea.kinds.stages import removable, stages, step_of, steps


def test_paths_are_known_by_their_step():
    assert step_of("shards/3.zarr") == "infer"
    assert step_of("views/flip_x/context.zarr") == "context"
    assert step_of("figures/sizes.png") == "report"
    assert step_of("other/objects.tsv") is None


def test_what_tiles_and_mosaics_both_write_is_a_step_of_tiles():
    assert step_of("tiles.tsv") == step_of("quarantine.tsv") == step_of("tiles/a.npz") == "tiles"
    assert step_of("refined.tif") == "postprocess"
    assert step_of("tile_quality.tsv") == "quality"


def test_every_result_is_of_one_step_and_named_once():
    every = list(itertools.chain.from_iterable(steps().values()))
    assert len(every) == len(set(every))
    # what a stage writes into a folder of its step goes with the folder
    assert "figures" in steps()["report"]
    assert "figures/sizes.png" not in steps()["report"]


def test_steps_stand_in_the_order_in_which_they_run():
    order = ("resample", "features", "context", "infer", "blend", "tiles", "postprocess")
    assert tuple(steps()) == (*order, "quality", "report")


def test_a_stage_can_be_cleaned_by_its_own_name():
    assert removable()["extract_view_features"] == ("views/*/features.zarr",)
    of_samples = {name for name, stage in stages().items() if stage.step}
    assert set(removable()) == of_samples | set(steps())
