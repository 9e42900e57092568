"""Blocks of small volumes, cut in any way."""

from hypothesis import strategies as st

from parafovea.geometry.grid import Box
from parafovea.postprocess.segmentation.block_components import Block

tiles = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
partitions = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 2), st.sampled_from([0.0, 0.3, 0.5, 0.7])),
    max_size=7,
)


def divided(shape, tile, cuts):
    """Return blocks of whole tiles that partition a volume, cut in two again and again."""
    files = [Box.whole([-(-n // t) for n, t in zip(shape, tile, strict=True)])]
    for number, axis, share in cuts:
        box = files.pop(number % len(files))
        at = box.start[axis] + round(box.shape[axis] * share)
        middle = [(*c[:axis], at, *c[axis + 1 :]) for c in (box.start, box.stop)]
        files += [Box(box.start, middle[1]), Box(middle[0], box.stop)]
    return [Block(box.scaled(tile).intersection(Box.whole(shape)), shape, tile) for box in files]


#: Eight blocks, halved along each axis.
EIGHTHS = [(0, 0, 0.5)] + [(0, 1, 0.5)] * 2 + [(0, 2, 0.5)] * 4
