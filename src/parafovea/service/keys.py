"""Keys of the service's clients: read from a file or the environment, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from parafovea.errors import ConfigError
from parafovea.runtime.documents import read_text

#: Fewest characters of a key. `openssl rand -hex 32` makes a good one.
SHORTEST = 16

#: Owner of all jobs where no keys are in use.
NOBODY = ""

_KEY = re.compile(r"[A-Za-z0-9._~+/=-]+")


class Keys:
    """The keys that a service accepts. Of each, only a hash is kept.

    Parameters
    ----------
    keys : iterable of str
        The keys; none if clients on this machine need none.

    Raises
    ------
    ConfigError
        If a key is too short, or has characters that a header cannot hold.
    """

    def __init__(self, keys: Iterable[str] = ()) -> None:
        digests = []
        for number, key in enumerate(keys, start=1):
            if len(key) < SHORTEST or not _KEY.fullmatch(key):
                raise ConfigError(
                    f"key {number} has {len(key)} characters, and must have at least {SHORTEST}, "
                    "letters, digits and . _ ~ + / = - alone: make one with `openssl rand -hex 32`"
                )
            digests.append(_digest(key))
        self._digests = tuple(dict.fromkeys(digests))

    def __len__(self) -> int:
        return len(self._digests)

    def owner(self, key: str) -> str | None:
        """Return who a key belongs to, as a name for the queue; None for an unknown key.

        All keys are compared, each in a time that does not depend on the key.

        Parameters
        ----------
        key : str
            What a client presents.
        """
        given, found = _digest(key), None
        for digest in self._digests:
            if hmac.compare_digest(given, digest):
                found = digest
        return None if found is None else hashlib.sha256(b"owner" + found).hexdigest()[:32]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def read_keys(file: Path | None, text: str = "") -> Keys:
    """Return the keys of a file and of a text.

    Parameters
    ----------
    file : Path or None
        One key a line; empty lines and those that begin with # are left out.
    text : str
        Further keys, with commas or spaces between them.

    Raises
    ------
    ConfigError
        If the file does not exist, may be read by everybody, or holds no key, or a key is invalid.
    """
    keys = [key for key in re.split(r"[,\s]+", text) if key]
    if file is not None:
        try:
            lines = read_text(file, "a file of keys").splitlines()
            mode = file.stat().st_mode
        except FileNotFoundError as error:
            raise ConfigError(f"{file} does not exist: give a file with one key a line") from error
        if mode & stat.S_IROTH:
            raise ConfigError(f"{file} holds keys, and everybody may read it: `chmod 600 {file}`")
        found = [line.strip() for line in lines]
        found = [line for line in found if line and not line.startswith("#")]
        if not found:
            raise ConfigError(f"{file} holds no key: write one a line (`openssl rand -hex 32`)")
        keys += found
    return Keys(keys)
