"""The history that auditors walk through: a few days of it, and that a registry goes on from there."""

import time
from pathlib import Path

import pytest
from werkzeug.test import Client

from registry.app import audit
from registry.config import read_settings
from tests.history import HOUR, History, commands

DAYS = 3


def test_a_history_is_a_log_in_order_with_all_that_it_promises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_WINDOW_SECONDS", str(HOUR))
    folder = tmp_path / "var"
    history = History(folder, DAYS, time.time())
    told: list[int] = []
    history.live(lambda: told.append(1))
    assert len(told) == DAYS * 24
    assert history.uploads > 3

    monkeypatch.setenv("REGISTRY_DATA_DIR", str(folder))
    pages = Client(audit(read_settings(), history.clock))
    overview = pages.get("/audit/").text
    assert "No alarms" in overview
    assert "<strong>2 of 3</strong> met" in overview
    for region in ("XA", "XB", "XC"):
        assert f'href="/audit/batches?region={region}"' in overview
    for state in ("live", "empty", "withdrawn"):
        assert f"state-{state}" in pages.get(f"/audit/batches?state={state}").text
    assert "XA_export-2" in pages.get("/audit/changes").text
    assert str(folder) in commands(folder)
    # What was lived through is over: nothing bears a time that is still to come.
    assert history.clock() <= time.time()
