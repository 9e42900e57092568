"""Progress is shown on a terminal, of many items, and nowhere else."""

import io

import pytest
from rich.console import Console

from parafovea.cli import terminal

MANY = [str(number) for number in range(terminal.MANY)]


@pytest.mark.parametrize(
    ("is_terminal", "items", "shown"),
    [(True, MANY, True), (True, MANY[1:], False), (False, MANY, False)],
)
def test_progress_is_shown_of_many_items_on_a_terminal(monkeypatch, is_terminal, items, shown):
    text = io.StringIO()
    monkeypatch.setattr(terminal, "errors", Console(file=text, force_terminal=is_terminal))
    assert list(terminal.followed(items, "Reading headers")) == items
    assert ("Reading headers" in text.getvalue()) == shown
