"""Messages of invalid values in files of keys and values."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


def first_problem(error: ValidationError) -> str:
    """Return the message of the first invalid value, with its key.

    Parameters
    ----------
    error : pydantic.ValidationError
        The validators of this package state key and fix themselves, and their message is enough.
    """
    problem = error.errors(include_url=False)[0]
    reason = problem.get("ctx", {}).get("error")
    if reason is not None:
        return str(reason)
    where = ".".join(map(str, problem["loc"]))
    return f"{where}: {problem['msg']}" if where else str(problem["msg"])
