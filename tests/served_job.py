"""A job of the service, predicted by a worker in this process: for tests."""

from __future__ import annotations

import shutil
from pathlib import Path

from tiny_detector import save_detector
from tiny_sample import tiny_model, tiny_refinement

from parafovea.config import read_settings
from parafovea.service.job_prediction import JobPrediction
from parafovea.service.job_queue import Job, JobQueue
from parafovea.service.prediction_worker import Worker
from parafovea.service.service_settings import ServiceSettings
from parafovea.service.spool import Spool

CONFIG = """\
tasks:
  nodules: {kind: detection, model: models/tiny}
  optical: {kind: refinement, model: models/optical}
"""


def write_tasks() -> None:
    """Write a config with two tasks, and their models, to the current folder."""
    save_detector(Path("models/tiny"))
    tiny_model(Path("models/optical"), tiny_refinement(context=False))
    Path("config.yaml").write_text(CONFIG)


def done(upload: Path, *, task: str = "nodules") -> Job:
    """Return the job of an upload when it is over."""
    spool = Spool(Path("spool"))
    with JobQueue(spool.database) as queue:
        job = queue.new_id()
        spool.upload(job).mkdir(parents=True)
        shutil.copy(upload, spool.upload(job))
        queue.submit(job, owner="", task=task, source=upload.name)
        service = ServiceSettings(spool=spool.root)
        predict = JobPrediction(read_settings(Path("config.yaml")), service, spool)
        Worker(queue, spool, predict, lease=60, attempts=3).run_one()
        found = queue.get(job)
    assert found is not None
    return found
