"""Answers what snakemake would do, many times over, for the price of importing snakemake once.

Run as a program it reads a request a line, forks, calls snakemake's own command line in the child
and writes the answer; the tests talk to it through `Planner`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path


class Planner:
    """A process that plans workflows of one Snakefile.

    Parameters
    ----------
    root : Path
        Folder of the Snakefile and of `src/parafovea`.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(root / "src")},
        )

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def plan(self, folder: Path, *arguments: str | Path) -> dict[str, int]:
        """Return the number of jobs by rule that a run in a folder would have."""
        command = ["--snakefile", self._root / "Snakefile", "--directory", folder]
        command += ["--quiet", "rules", "--cores", "2", "--dry-run", *arguments]
        request = {"folder": str(folder), "arguments": [str(each) for each in command]}
        print(json.dumps(request), file=self._process.stdin, flush=True)
        status, text = json.loads(self._process.stdout.readline())
        assert status == 0, text
        _, _, table = text.partition("Job stats:")
        table = table.partition("total")[0]
        return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)}


def _serve() -> None:
    import snakemake.cli

    import parafovea.config  # noqa: F401  (what every Snakefile here imports)

    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile("w+") as output:
            child = os.fork()
            if child == 0:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                os.chdir(request["folder"])
                code: object = 1
                try:
                    snakemake.cli.main(request["arguments"])
                except SystemExit as stop:
                    code = stop.code or 0
                finally:
                    if not isinstance(code, int):
                        print(code)
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(code if isinstance(code, int) else 1)
            _, status = os.waitpid(child, 0)
            output.seek(0)
            answer = [os.waitstatus_to_exitcode(status), output.read()]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve()
