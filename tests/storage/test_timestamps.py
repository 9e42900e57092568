"""Which time results state."""

from datetime import UTC, datetime, timedelta

import pytest

from parafovea.errors import ConfigError
from parafovea.storage.provenance import current_time, stated_time


def test_the_time_is_that_of_the_environment_or_none(monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert stated_time() == "1970-01-01T00:00:00Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1769860800")
    assert stated_time() == "2026-01-31T12:00:00Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "today")
    with pytest.raises(ConfigError, match="SOURCE_DATE_EPOCH is 'today'"):
        stated_time()


def test_the_clock_is_asked_unless_the_environment_wants_the_same_bytes(monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    told = datetime.strptime(current_time(), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert timedelta(0) <= datetime.now(UTC) - told < timedelta(seconds=60)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1769860800")
    assert current_time() is None
