"""One region in trouble silences no other; whatever was wrong is told, with what went out all the same."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from registry.errors import PublishingFailed
from registry.protocol.index import EXPOSURES
from tests.clock import NOON_OF_JUNE_15
from tests.publishing import HOUR, NOON, FailingStorage, Publishing, key_ending

END = int(NOON_OF_JUNE_15)
REGIONS = ["XA", "XB", "XC"]


def in_region(region: str) -> Callable[[str, str], bool]:
    return lambda _call, path: path.startswith(f"{EXPOSURES}/{region}/")


def test_every_failure_is_told_and_what_went_out_is_not_forgotten(stage: Publishing) -> None:
    stage.collect([key_ending(NOON - 144, 1)], regions=REGIONS)
    conflict = f"{EXPOSURES}/XB/{END - HOUR}-{END}-00001.zip"
    stage.storage.put_new(conflict, b"other bytes")
    full = FailingStorage(
        stage.storage,
        lambda call, path: call == "put_new" and path.endswith(".zip") and in_region("XA")(call, path),
        OSError(28, "No space left on device", "/srv/public/secret-place"),
    )
    with pytest.raises(PublishingFailed) as caught:
        stage.publish(storage=full, regions=REGIONS)
    reasons, outcome = caught.value.reasons, caught.value.outcome
    assert reasons.keys() == {"XA", "XB"}
    assert reasons["XA"] == "OSError", "by its class alone: what it says may be private"
    assert "written once" in reasons["XB"]
    assert str(caught.value) == f"XA: OSError; XB: {reasons['XB']}"
    assert [batch.region for batch in outcome.batches] == ["XC"]
    assert outcome.windows_sealed == 3
    assert len(stage.published("XC")) == 1
    stage.storage.delete(conflict)
    assert [batch.region for batch in stage.publish(regions=REGIONS).batches] == ["XA", "XB"]


def test_a_fault_of_the_database_in_one_region_does_not_reach_the_next(stage: Publishing) -> None:
    stage.collect([key_ending(NOON - 144, 1)], regions=REGIONS)

    @event.listens_for(stage.engine, "before_cursor_execute")
    def _fail(_c: Any, _k: Any, statement: str, parameters: Any, _x: Any, _m: Any) -> None:
        if statement.startswith("INSERT INTO export_file") and "XA/" in repr(parameters):
            raise OperationalError(statement, parameters, Exception("the connection was cut"))

    with pytest.raises(PublishingFailed) as caught:
        stage.publish(regions=REGIONS)
    event.remove(stage.engine, "before_cursor_execute", _fail)
    assert caught.value.reasons == {"XA": "OperationalError"}
    assert [batch.region for batch in caught.value.outcome.batches] == ["XB", "XC"]
    assert [batch.region for batch in stage.publish(regions=REGIONS).batches] == ["XA"]
    for region in REGIONS:
        stage.check_agreement(region)


def test_a_region_whose_folder_cannot_be_used_waits_and_the_others_go_out(stage: Publishing) -> None:
    stage.collect([key_ending(NOON - 144, 1)], regions=REGIONS)
    storage = FailingStorage(stage.storage, in_region("XB"), OSError(5, "Input/output error"))
    with pytest.raises(PublishingFailed) as caught:
        stage.publish(storage=storage, regions=REGIONS)
    assert caught.value.reasons == {"XB": "OSError"}
    assert [batch.region for batch in caught.value.outcome.batches] == ["XA", "XC"]
    assert stage.storage.names(f"{EXPOSURES}/XB/") == []
    assert len(stage.published("XA")) == len(stage.published("XC")) == 1
    stage.publish(regions=REGIONS)
    assert len(stage.published("XB")) == 1
    stage.check_agreement("XB")


def test_the_window_before_the_one_that_fails_is_told(stage: Publishing) -> None:
    is_zip = lambda call, path: call == "put_new" and path.endswith(".zip")  # noqa: E731
    storage = FailingStorage(stage.storage, is_zip, OSError())
    stage.collect([key_ending(NOON - 144, 1)])
    with pytest.raises(PublishingFailed):
        stage.publish(storage=storage)
    stage.clock.advance(HOUR)
    stage.collect([key_ending(NOON - 144, 2)])
    stage.storage.put_new(f"{EXPOSURES}/XA/{END}-{END + HOUR}-00001.zip", b"other bytes")
    with pytest.raises(PublishingFailed, match="written once") as caught:
        stage.publish()
    assert [batch.sequence for batch in caught.value.outcome.batches] == [1]
