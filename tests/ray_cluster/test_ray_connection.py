"""Without a cluster, or with less than is asked for, a command ends at once with one sentence."""

from __future__ import annotations

import time

import psutil
import pytest
from typer.testing import CliRunner

from parafovea.cli.main import app
from parafovea.drivers.ray.cluster import connected
from parafovea.errors import ClusterError


def test_no_cluster_at_all_is_one_sentence_with_the_command_to_type(monkeypatch):
    if any("gcs_server" in (p.info["name"] or "") for p in psutil.process_iter(["name"])):
        pytest.skip("a Ray cluster runs on this machine")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ClusterError) as error, connected():
        pass
    text = "no Ray cluster answers on this machine: start one with `ray start --head`"
    assert str(error.value) == text


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1: start one with `ray start --head`"),
        ("ray://127.0.0.1:10001", "is that of a Ray client: run this on a node of the cluster"),
        ("somewhere", "address 'somewhere' must be auto, local, or HOST:PORT of the head"),
    ],
)
def test_an_address_without_a_cluster_is_refused_at_once(address, message):
    start = time.monotonic()
    with pytest.raises(ClusterError) as error, connected(address):
        pass
    assert message in str(error.value)
    assert time.monotonic() - start < 5


def test_the_address_of_the_environment_is_checked_as_well(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ClusterError, match=r"no Ray cluster answers at 127\.0"), connected():
        pass


def test_more_gpus_than_there_are_are_refused_before_anything_is_read(
    ray_cluster, project_folder, monkeypatch
):
    monkeypatch.chdir(project_folder.path)
    options = ("--engine", "ray", "--address", ray_cluster.address, "--num-gpus", "4")
    for command in (
        ("predict", "data/a.tif", "--task", "cell", *options),
        ("run", "--sample", "a", *options),
    ):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 1
        text = "error 4 GPUs are asked for, but the Ray cluster has 3: ask for at most 3, or add"
        assert text in done.stderr
        assert "Traceback" not in done.output
    assert not (project_folder.path / "results/a").exists()
