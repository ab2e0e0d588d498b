"""What uploads and publishing are measured against, and what a run must have done to count."""

from pathlib import Path
from typing import cast

import pytest

from registry.lifecycle.publish import PublishedBatch, PublishOutcome
from tests.bench import publishing, uploads
from tests.running import Running


@pytest.mark.parametrize(
    ("rates", "limit"), [({400: 150.0, 20: 900.0}, 900.0), ({400: 950.0, 20: 900.0}, 950.0)]
)
def test_held_uploads_have_the_faster_of_both_loads_as_their_limit(
    monkeypatch: pytest.MonkeyPatch, rates: dict[int, float], limit: float
) -> None:
    def pgbench(_script: Path, _url: str, clients: int, _seconds: int) -> float:
        return rates[clients]

    monkeypatch.setattr(uploads, "statement_as_sent", lambda _url: "SELECT 1;")
    monkeypatch.setattr(uploads, "pgbench", pgbench)
    (row,) = (one for one in uploads.MEASUREMENTS if one.name == "uploads_per_second_http_postgresql_held")
    assert all(f"{clients} " in row.against for clients in rates)
    with uploads._same_statement(cast("Running", None), "", uploads.HELD_CONNECTIONS) as at_limit:
        assert at_limit(list) == limit


def outcome(keys: int) -> PublishOutcome:
    return PublishOutcome(batches=(PublishedBatch("XA", 1, 0, 1, (), keys),))


def test_a_publish_that_leaves_keys_behind_or_makes_up_too_many_does_not_count() -> None:
    publishing.check_published(outcome(1000), 1000)
    publishing.check_published(outcome(1000 + 14 * publishing.FLOOR), 1000)
    for keys in (999, 1001 + publishing.MOST_DECOY_KEYS):
        with pytest.raises(RuntimeError, match=f"{keys} keys were published where 1000 were"):
            publishing.check_published(outcome(keys), 1000)
