"""A Ray cluster of two nodes on this machine, with pretend GPUs, and small runs on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# jobs of these tests are modules of this folder, and of none of the nodes' own
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, (os.environ.get("PYTHONPATH"), str(Path(__file__).parent)))
)
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

pytest.importorskip("ray")

from ray.cluster_utils import Cluster as RayCluster
from small_cluster import NODE, SmallRun, new_cluster

from parafovea.drivers.ray.cluster import Cluster, connected


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[RayCluster]:
    """Yield a cluster of two nodes with two CPUs each, and two GPUs and one."""
    cluster = new_cluster(num_gpus=2)
    cluster.add_node(**NODE)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def small_run(tmp_path: Path) -> SmallRun:
    """Return a run without jobs in an empty folder."""
    return SmallRun(tmp_path)


@pytest.fixture
def connection(ray_cluster: RayCluster) -> Iterator[Cluster]:
    """Yield a connection to the cluster of two nodes."""
    with connected(ray_cluster.address) as cluster:
        yield cluster
