"""A Slurm of one node with two pretend GPUs, for as long as a test needs it.

Everything lies in one folder but for the configuration, which Slurm looks for in its own place: a
job's `srun` does not inherit the name of another file. What was there before is put aside and put
back, also by the next start where a run was killed in between.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

#: The commands that a cluster needs, and the Debian package of each.
COMMANDS = {
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
    "sbatch": "slurm-wlm",
    "munged": "munge",
}

SYSTEM_FOLDER = Path("/etc/slurm")
FILES = ("slurm.conf", "gres.conf")
ASIDE = ".put-aside-by-parafovea"

GPUS = 2


def obstacle() -> str | None:
    """Return why no cluster can be started on this machine, None where one can."""
    missing = [command for command in COMMANDS if shutil.which(command) is None]
    if missing:
        packages = " ".join(sorted({COMMANDS[command] for command in missing}))
        return f"{', '.join(missing)} not found: install them, as root: apt-get install {packages}"
    if os.geteuid() != 0:
        return (
            f"the configuration has to be written to {SYSTEM_FOLDER}: run this as root, or with "
            "sudo make test-slurm"
        )
    if any(process.info["name"] == "slurmctld" for process in psutil.process_iter(["name"])):
        return "slurmctld runs on this machine already: stop it, or test on another machine"
    try:
        with tempfile.TemporaryDirectory() as folder:
            _make_device(Path(folder) / "gpu")
    except PermissionError:
        return "no device file can be made, as in some containers: run this on a whole machine"
    return None


@dataclass(frozen=True)
class JobRecord:
    """What Slurm says of a job.

    Parameters
    ----------
    fields : dict
        As `scontrol show job` prints them.
    """

    fields: dict[str, str]

    @property
    def rule(self) -> str:
        """The Snakemake rule, which the executor writes into the comment."""
        return self.fields["Comment"].removeprefix("rule_").partition("_wildcards_")[0]

    @property
    def wildcards(self) -> str:
        """The wildcards' values, joined by underscores; those of its first task for an array."""
        return self.fields["Comment"].partition("_wildcards_")[2]

    @property
    def gpus(self) -> int:
        """How many GPUs Slurm gave it."""
        found = re.search(r"gpu(?::\w+)?:(\d+)", self.fields.get("JOB_GRES", ""))
        return int(found[1]) if found else 0

    @property
    def mem_mb(self) -> float:
        """The memory that it asked for, in megabytes."""
        size = self.fields["MinMemoryNode"]
        return float(size[:-1]) * {"M": 1, "G": 1024}[size[-1]]

    def __getitem__(self, name: str) -> str:
        """Return one field."""
        return self.fields[name]


@dataclass
class Cluster:
    """A running cluster.

    Parameters
    ----------
    folder : Path
        Where its state, its sockets and its logs lie.
    """

    folder: Path
    node: str = field(default_factory=lambda: socket.gethostname().partition(".")[0])

    def start(self) -> None:
        """Start munge, the controller and the node, and wait until the node is idle."""
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        for number in range(GPUS):
            _make_device(self.folder / f"gpu{number}")
        _put_aside()
        (SYSTEM_FOLDER / "slurm.conf").write_text(self._slurm_conf())
        (SYSTEM_FOLDER / "gres.conf").write_text(
            f"NodeName={self.node} Name=gpu File={self.folder}/gpu[0-{GPUS - 1}]\n"
        )
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        self._daemon(
            "munged",
            "--force",  # its folder need not be open to all, as it is for a machine
            f"--socket={self.folder}/munge.socket",
            f"--key-file={key}",
            f"--pid-file={self.folder}/munged.pid",
            f"--log-file={self.folder}/munged.log",
            f"--seed-file={self.folder}/munged.seed",
        )
        self._daemon("slurmctld", "-c")
        self.start_node()

    def stop(self) -> None:
        """End every job and every daemon, and put the system's configuration back."""
        try:
            with contextlib.suppress(subprocess.SubprocessError, FileNotFoundError):
                command("scancel", "--full", "--signal=KILL", "--user=root")
            self.kill_node()
            for name in ("slurmctld", "munged"):
                self._end(name)
        finally:
            _put_back()

    def start_node(self) -> None:
        """Start slurmd, and wait until Slurm can give it jobs."""
        self._daemon("slurmd", "-N", self.node)
        wait_until(lambda: self.state() in ("IDLE", "MIXED", "ALLOCATED"), 60, "the node is up")

    def kill_node(self) -> None:
        """Let the node die as in a power cut: slurmd, the steps of its jobs and their processes."""
        steps = [p for p in psutil.process_iter(["name"]) if p.info["name"] == "slurmstepd"]
        doomed = [child for step in steps for child in step.children(recursive=True)]
        self._end("slurmd", signal.SIGKILL)
        for process in [*steps, *doomed]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def freeze(self, job: JobRecord) -> None:
        """Stop all processes of a running job, as if it hung."""
        words = (
            line.split() for line in command("scontrol", "listpids", job["JobId"]).splitlines()
        )
        for word, *_ in words:
            if word.isdigit() and int(word) > 1:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process = psutil.Process(int(word))
                    if process.name() != "slurmstepd":  # it has to end the others
                        process.suspend()

    def state(self) -> str:
        """Return the state of the node, as `sinfo` says it."""
        return command("sinfo", "--noheader", "--Node", "--format=%T").split()[0].upper()

    def jobs(self) -> list[JobRecord]:
        """Return what Slurm says of all jobs so far, in the order of their submission."""
        text = command("scontrol", "--oneliner", "--details", "show", "job")
        return [
            JobRecord(dict(re.findall(r"(\w[\w/:]*)=(\S*)", line)))
            for line in text.splitlines()
            if line.startswith("JobId=")
        ]

    def completions(self) -> list[dict[str, str]]:
        """Return the lines of Slurm's job completion log."""
        log = self.folder / "completions.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]

    def _slurm_conf(self) -> str:
        found = re.search(r"CPUs=(\d+) .*RealMemory=(\d+)", command("slurmd", "-C"))
        if found is None:
            raise RuntimeError("slurmd -C does not say what this machine has")
        controller, node = _free_ports(2)
        return f"""\
ClusterName=parafovea
SlurmctldHost={self.node}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={self.folder}/munge.socket
CredType=cred/munge
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/spool
SlurmctldPidFile={self.folder}/slurmctld.pid
SlurmdPidFile={self.folder}/slurmd.pid
SlurmctldLogFile={self.folder}/slurmctld.log
SlurmdLogFile={self.folder}/slurmd.log
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={self.folder}/completions.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
MinJobAge=86400
SlurmdTimeout=10
KillWait=2
ReturnToService=2
GresTypes=gpu
NodeName={self.node} NodeAddr=127.0.0.1 CPUs={found[1]} RealMemory={found[2]} Gres=gpu:{GPUS}
PartitionName=cpu Nodes={self.node} Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes={self.node} MaxTime=INFINITE State=UP
"""

    def _daemon(self, name: str, *arguments: str) -> None:
        done = subprocess.run([name, *arguments], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{name} did not start: {done.stdout}{done.stderr}")
        wait_until(lambda: self._process(name) is not None, 30, f"{name} writes its pid")

    def _process(self, name: str) -> psutil.Process | None:
        try:
            process = psutil.Process(int((self.folder / f"{name}.pid").read_text()))
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return None
        return process if process.name() == name else None

    def _end(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        process = self._process(name)
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(30)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(30)


@contextlib.contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """Yield a cluster whose files lie in an empty folder, and stop it whatever happens."""
    cluster = Cluster(folder)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        cluster.start()
        yield cluster
    except TimeoutError as error:
        for log in sorted(folder.glob("*.log")):
            error.add_note(f"{log.name}: {log.read_text()[-2000:]}")
        raise
    finally:
        cluster.stop()
        signal.signal(signal.SIGTERM, before)


def command(*words: str) -> str:
    """Return what a command prints."""
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for a condition, or raise `TimeoutError`; a command that fails says no."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(subprocess.SubprocessError, IndexError):
            if condition():
                return
        time.sleep(0.2)
    raise TimeoutError(f"after {seconds:g} s it is still not so that {what}")


def _make_device(path: Path) -> None:
    """Make a device that holds nothing, as /dev/null does; Slurm counts no ordinary files."""
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _put_aside() -> None:
    _put_back()
    SYSTEM_FOLDER.mkdir(exist_ok=True)
    for name in FILES:
        file = SYSTEM_FOLDER / name
        aside = file.with_name(name + ASIDE)
        if file.exists():
            file.rename(aside)
        else:
            aside.touch()


def _put_back() -> None:
    """Undo `_put_aside`; an empty file put aside means that there was none."""
    for name in FILES:
        file = SYSTEM_FOLDER / name
        aside = file.with_name(name + ASIDE)
        if not aside.exists():
            continue
        if aside.stat().st_size:
            aside.replace(file)
        else:
            file.unlink(missing_ok=True)
            aside.unlink()


if __name__ == "__main__":
    if reason := obstacle():
        print(f"No Slurm can be started here: {reason}", file=sys.stderr)
        sys.exit(3)
