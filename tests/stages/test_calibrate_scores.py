"""`parafovea calibrate`: from a table of scores to a file and a plot."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.postprocess.detection.calibration import read_calibration


@pytest.fixture
def table(tmp_path):
    random = np.random.default_rng(0)
    scores = random.random(400)
    labels = random.random(400) < scores**3
    lines = [f"{p:.6f},{int(y)}" for p, y in zip(scores, labels, strict=True)]
    path = tmp_path / "scored.csv"
    path.write_text("\n".join(["probability,label", *lines]) + "\n")
    return path


def call(table, *options):
    output = table.with_name("calibration.json")
    arguments = ["calibrate", str(table), "--output", str(output), *options]
    return CliRunner().invoke(app, arguments), output


@pytest.mark.parametrize("method", ["temperature", "platt", "isotonic"])
def test_the_command_writes_a_calibration_and_prints_what_it_does(table, method):
    done, output = call(table, "--method", method)
    assert done.exit_code == 0, done.stderr
    made = read_calibration(output)
    assert made.method == method
    assert made.fit.candidates == 400
    (line,) = [line for line in done.output.splitlines() if line.startswith("calibration error")]
    fit = made.fit
    assert line.split()[-3:] == [f"{m.ece:.4f}" for m in (fit.before, fit.after, fit.held_out)]
    assert "names no model" in done.output
    assert ("isotonic regression overfits" in done.output) == (method == "isotonic")


def test_the_hash_of_the_model_goes_into_the_file(table, project_folder):
    model = project_folder.path / "models" / "cell"
    done, output = call(table, "--model", str(model))
    assert done.exit_code == 0, done.stderr
    assert json.loads(output.read_text())["model"] == {"name": "cell", "weights_sha256": "0" * 64}
    assert "names no model" not in done.output


def test_candidates_with_their_outcomes_are_fitted_like_labels(table):
    _, labelled = call(table, "--method", "platt")
    fitted = read_calibration(labelled).parameters
    names = {"1": "hit", "0": "false positive"}
    rows = [line.split(",") for line in table.read_text().splitlines()[1:]]
    lines = [f"{p}\t{names[y]}" for p, y in rows] + ["0.9\texcluded", "0.8\tdouble"]
    table.write_text("\n".join(["probability\toutcome", *lines]) + "\n")
    done, output = call(table, "--method", "platt")
    assert done.exit_code == 0
    assert read_calibration(output).parameters == fitted
    assert read_calibration(output).fit.candidates == len(rows)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_plot_is_the_same_bytes_when_drawn_again(table, suffix):
    plots = [table.with_name(f"{turn}{suffix}") for turn in ("one", "two")]
    files = []
    for plot in plots:
        done, output = call(table, "--plot", str(plot))
        assert done.exit_code == 0, done.stderr
        files.append((plot.read_bytes(), output.read_bytes()))
    assert files[0] == files[1]
    assert len(files[0][0]) > 5000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("probability,label\n" + "0.5,1\n" * 30, "30 candidates have label 1 and 0 label 0, only"),
        ("probability,label\n" + "0.5,1\n0.2,0\n" * 9, "too few of one class"),
        ("probability,label\n", "0 candidates have label 1"),
        ("probability\n0.5\n", "the header lacks label"),
        ("probability,label\n1.5,1\n", "scored.csv:2: probability is 1.5"),
        ("probability,label\n0.5,3\n", "scored.csv:2: label is 3"),
        ("probability,outcome\n0.5,Hit\n", "scored.csv:2: outcome is 'Hit': give one of hit, "),
        ("", "is empty"),
    ],
)
def test_a_table_that_nothing_can_be_fitted_to_ends_in_one_error(table, content, message):
    table.write_text(content)
    done, output = call(table, "--plot", str(table.with_name("plot.png")))
    assert done.exit_code == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in output.parent.iterdir()} == {"scored.csv"}


def test_a_plot_of_another_format_is_refused_before_anything_is_written(table):
    done, output = call(table, "--plot", str(table.with_name("plot.gif")))
    assert done.exit_code == 1
    assert "must end in one of .png, .svg, .pdf" in done.stderr
    assert not output.exists()
