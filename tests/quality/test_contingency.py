import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from parafovea.quality.segmentation.contingency import Pairs, count_pairs, main_partner, united


def as_dict(pairs):
    columns = (pairs.first.tolist(), pairs.second.tolist(), pairs.count.tolist())
    return {(a, b): n for a, b, n in zip(*columns, strict=True)}


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_pairs_of_slabs_add_up_to_the_pairs_of_the_volume(seed, planes):
    first, second = np.random.default_rng(seed).integers(0, 4, (2, 6, 5, 4)).astype(np.uint32)
    cuts = range(0, 6, planes)
    parts = [count_pairs(first[z : z + planes], second[z : z + planes]) for z in cuts]
    expected: dict[tuple[int, int], int] = {}
    for pair in zip(first.ravel().tolist(), second.ravel().tolist(), strict=True):
        expected[pair] = expected.get(pair, 0) + 1
    assert as_dict(united(parts)) == as_dict(count_pairs(first, second)) == expected


def test_ids_above_what_a_signed_integer_holds_stay_apart():
    ids = np.array([2**63 + 1, 2**63 + 2, 2**64 - 1], np.uint64)
    assert as_dict(count_pairs(ids, np.ones(3, np.uint8))) == {(int(i), 1): 1 for i in ids}


def test_the_main_partner_is_the_most_frequent_then_the_smallest_and_never_zero():
    pairs = Pairs(
        np.array([0, 3, 3, 3, 5, 5, 8], np.uint64),
        np.array([1, 0, 1, 2, 1, 2, 0], np.uint64),
        np.array([9, 9, 2, 4, 3, 3, 7]),
    )
    names, partners = main_partner(pairs)
    assert names.tolist() == [3, 5, 8]
    assert partners.tolist() == [2, 1, 0]
