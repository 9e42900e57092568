"""Licences of the installed packages that Parafovea needs, as their metadata state them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

#: Most characters of a licence; some packages state the whole text.
LONGEST = 100


def installed_licences(package: str = "parafovea") -> list[tuple[str, str, str]]:
    """Return the licences of a package and of all installed ones that it needs.

    Parameters
    ----------
    package : str
        Name of an installed package. What its extras need counts where it is installed.

    Returns
    -------
    list of tuple of str
        Name, version and licence, by name; "not stated" where the metadata have none.
    """
    found: dict[str, metadata.Distribution] = {}
    waiting = [package]
    while waiting:
        name = waiting.pop()
        if canonicalize_name(name) in found:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found[canonicalize_name(name)] = distribution
        waiting += _needed(distribution, optional=name == package)
    return [
        (distribution.name, distribution.version, licence(distribution))
        for _, distribution in sorted(found.items())
    ]


def licence(distribution: metadata.Distribution) -> str:
    """Return the licence of a package: its expression, else its classifiers, else its first line.

    Parameters
    ----------
    distribution : importlib.metadata.Distribution
        An installed package.
    """
    fields = distribution.metadata
    stated, text = (
        next(iter(fields.get_all(name) or ()), "").strip()
        for name in ("License-Expression", "License")
    )
    classified = [
        each.rpartition(" :: ")[2]
        for each in fields.get_all("Classifier") or ()
        if each.startswith("License :: ") and each.count(" :: ") > 1
    ]
    found = stated or ", ".join(classified) or next(iter(text.splitlines()), "not stated")
    return found if len(found) <= LONGEST else f"{found[: LONGEST - 1]}…"


def _needed(distribution: metadata.Distribution, *, optional: bool) -> Iterator[str]:
    """Yield the names of the packages that one needs here, with those of its extras if optional."""
    extras = distribution.metadata.get_all("Provides-Extra") or () if optional else ()
    for text in distribution.requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        ):
            yield requirement.name
