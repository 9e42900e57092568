"""One job of a stage as plain values: a call that any process can make, here or on another machine.

A driver resolves a declaration into paths and arguments; whoever runs the call needs neither the
config nor the sheet.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parafovea.chain.stage import Stage, Wildcards
from parafovea.config import Project
from parafovea.config.stage_code import code_of
from parafovea.runtime.runs import readable_storage
from parafovea.storage.contents import Contents
from parafovea.storage.provenance import Clock
from parafovea.storage.records import Order, forget_record, recorded


@dataclass(frozen=True, kw_only=True)
class StageCall:
    """Call of a stage's function.

    Parameters
    ----------
    module, function : str
        Dotted name of the module, and name of the function in it.
    arguments : mapping of str to object
        Inputs and outputs as paths, all others as plain values; never arrays.
    inputs : tuple of Path
        Results of other jobs that have to be there.
    outputs : tuple of Path
        What it writes.
    record : str
        Path of the record of what made its results.
    order : Order, optional
        What the results are to be made from, recorded after the call; without it, nothing is.
    """

    module: str
    function: str
    arguments: Mapping[str, Any]
    inputs: tuple[Path, ...] = ()
    outputs: tuple[Path, ...] = ()
    record: str = ""
    order: Order | None = None

    def run(self, contents: Contents | None = None) -> Any:
        """Make the call, and return what the function returns.

        What its results were made from before is forgotten.

        Parameters
        ----------
        contents : Contents, optional
            Hashes of files, for the record.

        Raises
        ------
        StoreError
            If the disk is full or refuses an output.
        ParafoveaError
            As raised by the stage.
        """
        if self.order is None:
            return self._called()
        with recorded(self.order, contents or Contents()):
            return self._called()

    def _called(self) -> Any:
        with readable_storage(*self.outputs):
            if self.record:
                forget_record(self.record)
            function = getattr(importlib.import_module(self.module), self.function)
            return function(**self.arguments)


def stage_call(
    project: Project,
    stage: Stage,
    wildcards: Wildcards,
    *,
    clock: Clock | None = None,
    order: Order | None = None,
) -> StageCall:
    """Return the call of one job of a stage.

    Parameters
    ----------
    project : Project
        The checked config and sheet.
    stage : Stage
        Declaration of the stage.
    wildcards : mapping of str to str
        Wildcards of the job.
    clock : Clock, optional
        Time to state, for a stage whose result can state one.
    order : Order, optional
        What the results are to be made from, to be recorded.
    """
    inputs: dict[str, Any] = {
        name: Path(paths) if isinstance(paths, str) else [Path(path) for path in paths or ()]
        for name, paths in stage.input_paths(project, wildcards).items()
    }
    outputs = {n: Path(path) for n, path in stage.output_paths(project, wildcards).items()}
    call = inputs | outputs | stage.arguments(project, wildcards)
    if stage.clock:
        call["clock"] = clock
    if stage.states_code:
        call["code"] = code_of(stage, project, wildcards)
    return StageCall(
        module=stage.module,
        function=stage.script,
        arguments=call,
        inputs=tuple(
            path
            for paths in inputs.values()
            for path in (paths if isinstance(paths, list) else [paths])
        ),
        outputs=tuple(outputs.values()),
        record=stage.record(project, wildcards),
        order=order,
    )
