import errno
import logging
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.iocontainers import InputFiles, OutputFiles

from parafovea.drivers.job import stage
from parafovea.errors import SourceError
from parafovea.storage.records import Order, read_record


@pytest.fixture
def job(tmp_path):
    return SimpleNamespace(
        log=[str(tmp_path / "logs" / "a.log")],
        rule="resample_volume",
        wildcards={"sample": "a"},
        input=named(InputFiles, waits=["a.tif", "b.tif"]),
        output=named(OutputFiles, volume="results/a/volume.ome.zarr"),
        params=SimpleNamespace(get={"arguments": {"unit": "nanometer"}}.get),
        threads=1,
        resources={},
    )


def named(container, **paths):
    """Return files as snakemake gives them to a script: by name, one or several."""
    files = container()
    for name, each in paths.items():
        begin = len(files)
        files.extend([each] if isinstance(each, str) else each)
        files._set_name(name, begin, None if isinstance(each, str) else len(files))
    return files


def log_of(job) -> str:
    return Path(job.log[0]).read_text()


def test_a_call_has_inputs_outputs_and_arguments_by_name(job):
    job.input = named(InputFiles, scan="v.zarr", shards=["1.zarr"], context=[], waits=["a.tif"])
    with stage(job) as call:
        assert call == {
            "scan": Path("v.zarr"),
            "shards": [Path("1.zarr")],
            "volume": Path("results/a/volume.ome.zarr"),
            "unit": "nanometer",
        }


def test_records_and_warnings_reach_the_log_and_stderr(job, capsys):
    with warnings.catch_warnings(), stage(job):
        warnings.simplefilter("always")
        logging.getLogger("parafovea.geometry.resample").info("to 3 voxels")
        warnings.warn("a library is unsure", stacklevel=1)
    assert "INFO parafovea.geometry.resample: to 3 voxels" in log_of(job)
    assert "a library is unsure" in log_of(job)
    assert "to 3 voxels" in capsys.readouterr().err


def test_a_users_mistake_is_told_with_its_sample_and_without_a_traceback(job, capsys):
    with pytest.raises(SystemExit) as caught, stage(job):
        raise SourceError("x.tif is truncated: copy it again")
    assert caught.value.code == 1
    for text in (log_of(job), capsys.readouterr().err):
        assert "x.tif is truncated: copy it again\n  in resample_volume of sample a" in text
        assert "Traceback" not in text


def test_any_other_error_leaves_its_traceback_in_the_log(job):
    with pytest.raises(SystemExit) as caught, stage(job):
        raise RuntimeError("a bug")
    assert caught.value.code == 1
    assert "resample_volume failed" in log_of(job)
    assert "Traceback" in log_of(job)
    assert "RuntimeError: a bug" in log_of(job)


def test_logging_is_as_before_afterwards_also_when_interrupted(job):
    root = logging.getLogger()
    before = list(root.handlers), root.level
    with pytest.raises(KeyboardInterrupt), stage(job):
        raise KeyboardInterrupt
    assert (list(root.handlers), root.level) == before


def test_a_full_disk_is_told_without_a_traceback(job, capsys):
    with pytest.raises(SystemExit) as caught, stage(job):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.code == 1
    for text in (log_of(job), capsys.readouterr().err):
        assert "results/a/volume.ome.zarr cannot be written, the disk is full" in text
        assert "in resample_volume of sample a" in text
        assert "Traceback" not in text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_log_that_cannot_be_written_does_not_stop_a_job(job, capsys):
    job.log = ["/dev/full"]
    with stage(job):
        logging.getLogger("parafovea").info("to 3 voxels")
    text = capsys.readouterr().err
    assert "to 3 voxels" in text
    assert "done in" in text
    assert "Logging error" not in text


def test_what_a_result_was_made_from_is_recorded_if_the_body_ends_well(job, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.tif").write_bytes(b"voxels")
    order = Order(
        place="results/a/volume.ome.zarr/.made.json",
        stage="resample_volume",
        arguments="0",
        code="1",
        files=("a.tif",),
    )
    arguments = {"unit": "nanometer", "order": order.plain()}
    job.params = SimpleNamespace(get={"arguments": arguments}.get)
    with stage(job) as call:
        assert "order" not in call
    assert set(read_record(order.place).sources) == {"a.tif"}
    with pytest.raises(SystemExit), stage(job):
        raise SourceError("x.tif is truncated: copy it again")
    assert read_record(order.place) is None


def test_an_input_that_nobody_knows_is_one_readable_error(job, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    order = Order(
        place="record", stage="blend_shards", arguments="", code="", inputs={"1.zarr": "no/record"}
    )
    job.params = SimpleNamespace(get={"arguments": {"order": order.plain()}}.get)
    with pytest.raises(SystemExit), stage(job):
        pytest.fail("the job ran")
    assert "not known what 1.zarr was made from" in capsys.readouterr().err
