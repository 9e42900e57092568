"""The fenced blocks of code of a page, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: `<!-- not run: REASON -->` right above a block says why no test runs it.
_BLOCK = re.compile(
    r"(?:^ *<!-- not run: (?P<reason>.+?) -->\n\n?)?"
    r"^(?P<indent> *)```(?P<language>[\w-]*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)

#: Words that a shell reads itself.
SHELL_WORDS = {"for", "do", "done", "set", "export", "cd"}


@dataclass(frozen=True)
class Block:
    """A block of a page."""

    page: Path
    line: int
    language: str
    text: str
    reason: str | None


def code_blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page, without their indentation."""
    text = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("language")) + 1
        indent = len(match["indent"])
        inside = "".join(each[indent:] for each in match["text"].splitlines(keepends=True))
        yield Block(page, line, match["language"], inside, match["reason"])


def commands(block: Block) -> list[list[str]]:
    """Return the words of every command of a block of bash, comments left out."""
    lines = block.text.replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words.pop(0)
        if words:
            program = words[0].removeprefix(".venv/bin/")
            found.append([program, *words[1:]])
    return found
