import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parafovea.errors import CalibrationError
from parafovea.postprocess.detection.calibration import (
    Isotonic,
    Owner,
    Platt,
    Temperature,
    calibration_text,
    logit,
    read_calibration,
    risk_category,
    sigmoid,
)
from parafovea.postprocess.detection.calibration_fit import fit_map
from parafovea.quality.detections.reliability import calibrate, folds

METHODS = ("temperature", "platt", "isotonic")


def scored(n=4000, slope=1.0, shift=0.0, seed=0):
    """Return scores whose true probability is sigmoid(slope logit(score) + shift), and labels."""
    random = np.random.default_rng(seed)
    scores = sigmoid(random.normal(0, 2, n))
    true = sigmoid(slope * logit(scores) + shift)
    return scores, (random.random(n) < true).astype(int)


def test_a_temperature_of_scores_that_are_too_sure_is_found():
    fitted = fit_map(*scored(slope=0.5), method="temperature")
    assert fitted.temperature == pytest.approx(2.0, rel=0.08)


def test_a_slope_and_a_shift_are_found():
    fitted = fit_map(*scored(slope=0.5, shift=-1.0), method="platt")
    assert fitted.slope == pytest.approx(0.5, rel=0.08)
    assert fitted.intercept == pytest.approx(-1.0, rel=0.08)


def test_platt_is_where_the_gradient_of_its_smoothed_loss_is_zero():
    scores, labels = scored(200)
    fitted = fit_map(scores, labels, method="platt")
    ones = labels.sum()
    target = np.where(labels == 1, (ones + 1) / (ones + 2), 1 / (len(labels) - ones + 2))
    error = fitted.apply(scores) - target
    assert abs(np.mean(error)) < 1e-5
    assert abs(np.mean(error * logit(scores))) < 1e-5


def test_isotonic_steps_are_those_of_pooling_by_hand():
    # 0.2 and 0.3 violate the order and are pooled to 1/3; the two at 0.5 are one level
    scores = np.array([0.1, 0.2, 0.3, 0.3, 0.5, 0.5, 0.9])
    labels = np.array([0, 1, 0, 0, 1, 0, 1])
    fitted = fit_map(scores, labels, method="isotonic")
    assert fitted.score == (0.1, 0.2, 0.3, 0.5, 0.9)
    np.testing.assert_allclose(fitted.calibrated, [0, 1 / 3, 1 / 3, 1 / 2, 1])
    np.testing.assert_allclose(fitted.apply(np.array([0.0, 0.25, 0.7, 1.0])), [0, 1 / 3, 0.75, 1])


def test_labels_that_scores_separate_end_in_finite_parameters():
    scores = np.linspace(0, 1, 40)
    labels = (scores > 0.5).astype(int)
    for method in METHODS:
        after = fit_map(scores, labels, method=method).apply(scores)
        assert np.isfinite(after).all()
        assert (after[labels == 1].min()) > after[labels == 0].max()


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=30),
    st.sampled_from(
        [
            Temperature(temperature=0.01),
            Temperature(temperature=90.0),
            Platt(slope=3.0, intercept=-20.0),
            Isotonic(score=(0.2, 0.4, 0.6), calibrated=(0.1, 0.1, 1.0)),
        ]
    ),
)
def test_calibrated_scores_stay_in_0_to_1_and_keep_their_order(scores, parameters):
    after = parameters.apply(np.sort(scores))
    assert ((after >= 0) & (after <= 1)).all()
    assert (np.diff(after) >= 0).all()


def test_scores_that_fall_with_labels_are_refused_by_platt():
    scores, labels = scored()
    with pytest.raises(CalibrationError, match="scores do not increase with labels"):
        fit_map(scores, 1 - labels, method="platt")


@pytest.mark.parametrize("method", METHODS)
def test_calibration_lessens_the_error_also_on_candidates_that_it_has_not_seen(method):
    calibration = calibrate(*scored(slope=0.4), method=method)
    fit = calibration.fit
    assert fit.before.ece > 0.1
    for measures in (fit.after, fit.held_out):
        assert measures.ece < fit.before.ece / 2
        assert measures.brier < fit.before.brier
    assert fit.after.log_loss < fit.before.log_loss
    unseen, labels = scored(slope=0.4, seed=1)
    after = calibration.apply(unseen)
    assert np.mean((after - labels) ** 2) == pytest.approx(fit.held_out.brier, abs=0.01)


def test_folds_hold_each_label_evenly_and_are_the_same_each_time():
    labels = (np.arange(103) % 4 == 0).astype(int)
    fold = folds(labels)
    assert (folds(labels) == fold).all()
    for value in (0, 1):
        count = np.bincount(fold[labels == value], minlength=5)
        assert count.max() - count.min() <= 1


@pytest.mark.parametrize(
    ("ones", "zeros", "message"),
    [(0, 50, "only one class"), (50, 0, "only one class"), (9, 50, "9 candidates have label 1")],
)
def test_too_few_of_one_label_are_refused(ones, zeros, message):
    labels = np.repeat([1, 0], [ones, zeros])
    with pytest.raises(CalibrationError, match=message):
        calibrate(np.linspace(0, 1, len(labels)), labels, method="platt")


MODEL = Owner(name="nodules", weights_sha256="ab" * 32)


@pytest.mark.parametrize("method", METHODS)
def test_a_calibration_that_is_read_again_gives_the_same_bits(tmp_path, method):
    scores, labels = scored(300)
    made = calibrate(scores, labels, method=method, model=MODEL)
    path = tmp_path / "calibration.json"
    path.write_text(calibration_text(made))
    content = json.loads(path.read_text())
    assert content["method"] == method
    assert content["model"]["weights_sha256"] == "ab" * 32
    read = read_calibration(path, model_sha256="ab" * 32)
    assert (read.apply(scores) == made.apply(scores)).all()
    assert calibration_text(read) == path.read_text()


@pytest.fixture
def calibration(tmp_path):
    path = tmp_path / "calibration.json"
    path.write_text(calibration_text(calibrate(*scored(300), method="platt", model=MODEL)))
    return path


def test_a_calibration_of_another_model_is_refused_with_both_hashes(calibration):
    with pytest.raises(CalibrationError) as caught:
        read_calibration(calibration, model_sha256="cd" * 32)
    for word in ("'nodules'", "ab" * 32, "cd" * 32, "calibration.json"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"method": "platt"', '"method": "spline"', "method: Input should be 'temperature'"),
        ('"slope": ', '"slope": -', "slope: Input should be greater than 0"),
        ('"method": "platt"', '"method": "isotonic"', "parameters: score: Field required"),
        ('"intercept"', '"shift"', "intercept: Field required"),
        ("ab" * 32, "abc", "weights_sha256"),
        ('"method"', '"metod"', "is not a calibration"),
        ("{", "", "is not JSON"),
    ],
)
def test_a_file_that_is_no_calibration_is_refused_with_the_place(calibration, old, new, message):
    calibration.write_text(calibration.read_text().replace(old, new))
    with pytest.raises(CalibrationError, match=message):
        read_calibration(calibration)


def test_isotonic_parameters_that_fall_are_refused():
    for score, calibrated in (((0.1, 0.1), (0, 1)), ((0.1, 0.2), (1, 0)), ((0.1,), (0, 1))):
        with pytest.raises(ValueError, match=r"must be increasing|has 1 values"):
            Isotonic(score=score, calibrated=calibrated)


def test_a_missing_file_and_binary_are_refused(tmp_path):
    with pytest.raises(CalibrationError, match="does not exist: write it with `parafovea"):
        read_calibration(tmp_path / "none.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\x00")
    with pytest.raises(CalibrationError, match="is not UTF-8 text"):
        read_calibration(tmp_path / "binary.json")


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_scores_that_are_no_probabilities_are_refused(calibration, score):
    with pytest.raises(CalibrationError, match="is outside 0 to 1"):
        read_calibration(calibration).apply(np.array([0.5, score]))


THREE = {"low": 0, "intermediate": 0.3, "high": 0.7}


@pytest.mark.parametrize(
    ("score", "category"),
    [(0, "low"), (0.2999, "low"), (0.3, "intermediate"), (0.6999, "intermediate"), (0.7, "high"),
     (1, "high")],
)  # fmt: skip
def test_a_category_begins_at_its_limit(score, category):
    assert risk_category(score, THREE) == category


@pytest.mark.parametrize(
    "limits", [{}, {"low": 0.1}, {"low": 0, "high": 0}, {"low": 0, "high": 1.2}]
)
def test_limits_that_leave_scores_without_a_category_are_refused(limits):
    with pytest.raises(CalibrationError, match="must start at 0"):
        risk_category(0.5, limits)
    with pytest.raises(CalibrationError, match="risk categories are for"):
        risk_category(float("nan"), THREE)
