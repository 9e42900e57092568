"""Fingerprint of a stage's code, which decides whether a job runs again.

It covers the stage's module and all that it imports, the modules that its arguments refer to, the
readers of the sample's formats, and the properties of the sample's kind that change results.
"""

from __future__ import annotations

import functools
import hashlib
import json

from parafovea.chain.stage import Stage, Wildcards
from parafovea.config.project import Project
from parafovea.formats.location import format_modules
from parafovea.kinds.reference import module_of
from parafovea.storage.fingerprint import code_fingerprint


def code_of(stage: Stage, project: Project, wildcards: Wildcards) -> str:
    """Return the fingerprint of a job's code.

    Parameters
    ----------
    stage : Stage
        Declaration of the stage.
    project : Project
        The checked config and sheet.
    wildcards : mapping of str to str
        Wildcards of the job.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    modules = [stage.module]
    if stage.references:
        arguments = stage.arguments(project, wildcards)
        modules += [module_of(arguments[name]) for name in stage.references]
    for path, bands in stage.reads(project, wildcards):
        modules += format_modules(path, bands=bands)
    facts = project.kind(wildcards["sample"]).facts if "sample" in wildcards else {}
    return _hashed(tuple(dict.fromkeys(modules)), json.dumps(facts))


@functools.cache
def _hashed(modules: tuple[str, ...], facts: str) -> str:
    code = code_fingerprint(modules)
    return hashlib.sha256(f"{code}\0{facts}".encode()).hexdigest()[:16]
