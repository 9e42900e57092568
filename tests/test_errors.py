"""Texts of strangers in messages: one line each, cut, without commands for a terminal."""

from __future__ import annotations

import io

from parafovea.cli.terminal import Terminal
from parafovea.errors import ConfigError, describe, quoted, shown

WILD = "a\x1b[31m\r\x07\x9b2J\u202eb\u2028c\ud800"


def test_control_characters_are_escaped_wherever_they_come_from() -> None:
    error = ConfigError(f"{WILD} is wrong")
    error.add_note(f"in sample {WILD}")
    text = describe(error)
    assert text.count("\n") == 1
    assert text.replace("\n", "").isprintable()
    assert "a\\x1b[31m\\r\\x07\\x9b2J\\u202eb\\u2028c\\ud800 is wrong" in text
    assert shown(WILD).isprintable()
    assert quoted(WILD).isprintable()


def test_ordinary_messages_are_unchanged() -> None:
    message = "spacing 4 µm of „Zelle“ 細胞\u00a0nm is wrong:\n  use another"
    assert describe(ConfigError(message)) == message


def test_a_long_line_keeps_its_beginning_and_its_fix() -> None:
    text = describe(ConfigError(f"a.tsv:2: {'x' * 10**6}: correct it"))
    assert text.startswith("a.tsv:2: xxx")
    assert text.endswith("xxx: correct it")
    assert len(text) < 1100


def test_a_long_list_says_how_much_is_left_out() -> None:
    text = describe(ConfigError("\n  ".join(f"line {n}" for n in range(1000))))
    assert text.endswith("… and 940 more lines")


def test_values_are_cut_and_nested_ones_abbreviated() -> None:
    value: list[object] = ["x" * 10**6]
    for _ in range(30):
        value = [value] * 10
    assert len(shown(value)) <= 200
    assert len(shown("y" * 10**6)) == 200
    assert quoted("short") == "'short'"


def test_the_terminal_prints_no_commands() -> None:
    sink = io.StringIO()
    Terminal(file=sink, soft_wrap=True).print(f"[bold]{WILD}[/]", highlight=False)
    assert sink.getvalue().rstrip("\n").isprintable()
