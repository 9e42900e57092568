"""The target `figures` in a project with a small study."""

import shutil

import pandas as pd


def drawn_twice(folder, snakemake, name):
    """Draw a study, remove its figures, draw them again: the same bytes. Return the table."""
    figures = folder / "results/figures"
    drawn = []
    for _ in range(2):
        shutil.rmtree(figures, ignore_errors=True)
        status, text = snakemake(folder, "figures")
        assert status == 0, text
        assert "The results are in results" in text
        assert "report.html" not in text
        drawn.append({path.name: path.read_bytes() for path in figures.glob("[!.]*")})
    assert set(drawn[0]) == {
        f"{name}_scores.tsv",
        *(f"{name}.{kind}" for kind in ("tsv", "svg", "pdf", "png")),
    }
    assert drawn[0] == drawn[1]
    return pd.read_csv(figures / f"{name}.tsv", sep="\t")
