import pytest
import torch

from benchmarks.network_calls import recorded, replayed


class Engine:
    def __init__(self):
        self.seen = []

    def logits(self, features, guides, conditions=None):
        self.seen.append(float(features))
        return features


class Predictor:
    """Gives its engine whatever it is called with, and nothing else."""

    def __init__(self, engine):
        self.engine = engine

    def __call__(self, *parts):
        return self.engine.logits(*parts)


def test_calls_are_recorded_whole_and_the_predictor_keeps_its_engine():
    engine = Engine()
    predictor = Predictor(engine)
    first, second = torch.tensor(1.0), torch.tensor(2.0)

    def predict():
        assert predictor(first, None) is first
        predictor(second, [first], second)

    assert recorded(predictor, predict) == [(first, None, None), (second, [first], second)]
    assert predictor.engine is engine


def test_a_prediction_that_fails_leaves_the_predictor_as_it_was():
    engine = Engine()
    predictor = Predictor(engine)
    with pytest.raises(ZeroDivisionError):
        recorded(predictor, lambda: 1 / 0)
    assert predictor.engine is engine


def test_recorded_batches_are_replayed_in_a_circle_as_often_as_asked():
    engine = Engine()
    calls = [(torch.tensor(value), None, None) for value in (1.0, 2.0)]
    assert replayed(engine, calls, count=5) >= 0
    assert engine.seen == [1, 2, 1, 2, 1]
