"""What this workflow does at the start of a run, where it is a module of another workflow.

Snakemake runs `onstart` of the main workflow alone, and has no other moment at which a run begins
but a dry run does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def at_start(workflow: Any, begin: Callable[[], None]) -> None:
    """Call a function at the start of each run, before what the main workflow does then.

    Parameters
    ----------
    workflow : snakemake.workflow.Workflow
        Snakemake's object while it reads the Snakefile of a module; nothing is changed in another.
    begin : callable
        Called once, in the main process.
    """
    if workflow.modifier.is_main_snakefile():
        return
    register = workflow.onstart
    stated = workflow._onstart

    def started(log: str) -> None:
        begin()
        stated(log)

    def registered(function: Callable[..., None]) -> None:
        # the main workflow may state its own after it states its modules
        if not workflow.modifier.is_main_snakefile():
            register(function)
            return

        def both(log: str) -> None:
            begin()
            function(log)

        register(both)

    workflow._onstart = started
    workflow.onstart = registered
