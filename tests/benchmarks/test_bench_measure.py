import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.measure import Ratio, in_turns

positive = st.floats(0.01, 100)


def test_work_is_done_in_turns_and_the_warm_up_does_not_count():
    done = []

    def work(name):
        def run():
            done.append(name)
            return float(len(done))

        return run

    seconds = in_turns({"a": work("a"), "b": work("b")}, repeats=2)
    assert "".join(done) == "ababab"
    assert seconds == {"a": (3.0, 5.0), "b": (4.0, 6.0)}


def test_without_warm_up_every_round_counts():
    assert in_turns({"a": lambda: 1.0}, repeats=3, warm_up=False) == {"a": (1.0, 1.0, 1.0)}


def test_one_slow_round_does_not_change_the_ratio():
    assert Ratio.of([2.0, 20.0, 2.0], [1.0, 1.0, 1.0]).value == 2.0


@settings(max_examples=30)
@given(st.lists(st.tuples(positive, positive), min_size=1, max_size=7))
def test_a_ratio_is_taken_within_each_round_and_lies_in_its_spread(pairs):
    slow, fast = zip(*pairs, strict=True)
    ratio = Ratio.of(slow, fast)
    within = [a / b for a, b in pairs]
    assert ratio.spread == (min(within), max(within))
    assert ratio.spread[0] <= ratio.value <= ratio.spread[1]


def test_sides_of_a_ratio_have_the_same_rounds():
    with pytest.raises(ValueError, match="shorter"):
        Ratio.of([1.0, 2.0], [1.0])
