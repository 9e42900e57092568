"""Options of Snakemake's command line that it would misunderstand without a word."""

from __future__ import annotations

from collections.abc import Sequence

from parafovea.errors import ConfigError

OPTIONS = ("--configfile", "--configfiles")


def require_one_configfile(words: Sequence[str]) -> None:
    """Raise `ConfigError` if an option that Snakemake takes once is given several times.

    Parameters
    ----------
    words : sequence of str
        The words of the command line. Snakemake forgets all but the last of these options.
    """
    files: list[list[str]] = []
    for number, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name not in OPTIONS:
            continue
        files.append([value] if equals else [])
        for following in words[number + 1 :] if not equals else ():
            if following.startswith("-"):
                break
            files[-1].append(following)
    if len(files) > 1:
        every = " ".join(file for given in files for file in given)
        raise ConfigError(
            "snakemake uses only the last of several --configfile: write --configfile " + every
        )
