"""`kill -9` of publisher and web processes at random moments of continuous uploading and publishing."""

import random
from collections.abc import Callable
from pathlib import Path

from tests.crash.killing import Campaign
from tests.running import Running

SAMPLE = 5


def test_what_was_acknowledged_is_published_exactly_once_whatever_is_killed(
    tmp_path: Path, empty_database: Callable[[str], str]
) -> None:
    registry = Running(
        tmp_path / "var",
        REGISTRY_ISSUING_DATABASE_URL=empty_database("issuing"),
        REGISTRY_COLLECTING_DATABASE_URL=empty_database("collecting"),
        REGISTRY_WINDOW_SECONDS="1",
        REGISTRY_ANSWER_HOLD_MILLISECONDS="0",
    ).start()
    try:
        campaign = Campaign(registry, random.Random(20260615))
        campaign.fight(SAMPLE)
        assert campaign.verdict() == []
        assert sum(campaign.kills.values()) >= SAMPLE - 1
        assert len(campaign.acknowledged) >= 14
    finally:
        registry.stop()
