import re

import pytest

from parafovea.errors import ConfigError
from parafovea.runtime.slurm import require_slurm


def commands(folder, **texts):
    for name, text in texts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)


def test_no_slurm_and_a_cluster_that_does_not_answer_are_one_sentence_each(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"this machine has no Slurm.*without --profile slurm"):
        require_slurm()
    commands(tmp_path, sbatch="", sinfo="echo 'sinfo: fatal: no configuration' >&2; exit 1")
    with pytest.raises(ConfigError) as caught:
        require_slurm()
    assert re.match(
        r"no Slurm cluster answers here \(sinfo: fatal: no conf.*\): run", str(caught.value)
    )
    commands(tmp_path, sinfo="exit 1")
    with pytest.raises(ConfigError, match="sinfo ended with status 1"):
        require_slurm()
    commands(tmp_path, sinfo="echo cpu")
    require_slurm()
