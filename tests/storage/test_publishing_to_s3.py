"""Publishing into a real bucket: what phones then find there, races, faults at every call, a killed store.

The database is SQLite: it is the bucket that is on trial here. The suite spoils a sample of the calls, as in
`tests/crash/test_publish_faults.py`; `make soak` spoils all.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import requests

from registry.errors import PublishingFailed, StorageUnavailable
from registry.lifecycle.publish import PublicationPolicy, PublishOutcome, publish_due
from registry.models import CollectingBase, open_database
from registry.protocol.index import daily_index_path, index_path, index_proof_path, legacy_index_path
from registry.protocol.serving import known_tags, serving_of, stored_headers
from registry.storage.s3 import Credentials, Patience, S3Storage
from tests.clock import FakeClock
from tests.crash import killed_publisher
from tests.crash.faults import (
    DATABASE,
    STEP,
    STORING,
    Faults,
    FaultyDatabase,
    FaultyStorage,
    faulty_database,
    spoil_calls,
)
from tests.crash.killed_publisher import KilledPublisher
from tests.crash.publish_story import POLICY as STORY_POLICY
from tests.crash.publish_story import REGIONS, Onlooker, Story
from tests.publishing import HOUR, NOON, REGION, FailingStorage, Publishing, key_ending
from tests.storage.seaweedfs import SeaweedServer, seaweed_server

POLICY = PublicationPolicy(window_seconds=HOUR, keys_per_file=4)
HASTY = Patience(retries=1, longest_pause=0.1, connect_seconds=2, call_seconds=5)
POINTERS = [f(REGION) for f in (index_proof_path, index_path, daily_index_path, legacy_index_path)]
PREFIXES = count(1)

Stage = Callable[..., Publishing]
"""From a server and what else a `Publishing` may be given."""


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/collecting.sqlite"
    engine = open_database(url)
    CollectingBase.metadata.create_all(engine)
    engine.dispose()
    return url


@pytest.fixture
def make_stage(database_url: str, clock: FakeClock) -> Iterator[Stage]:
    engine = open_database(database_url)

    def stage_on(server: SeaweedServer, *more: Any) -> Publishing:
        place = server.place(f"publishing/{next(PREFIXES)}")
        return Publishing(engine, S3Storage(place, stored_headers, HASTY), clock, *more)

    yield stage_on
    engine.dispose()


@pytest.fixture
def faulty(database_url: str) -> Iterator[FaultyDatabase]:
    with faulty_database(database_url) as database:
        yield database


@pytest.fixture
def stage(make_stage: Stage, seaweed: SeaweedServer) -> Publishing:
    return make_stage(seaweed)


class Recorder(FailingStorage):
    """Writes down what is written, in order."""

    def __init__(self, storage: S3Storage) -> None:
        self.written: list[str] = []
        super().__init__(storage, self._note, OSError())

    def _note(self, call: str, path: str) -> bool:
        if call in ("put_new", "put_new_file", "replace"):
            self.written.append(path)
        return False


def test_what_is_published_is_served_as_the_table_says(stage: Publishing, seaweed: SeaweedServer) -> None:
    stage.collect([key_ending(NOON - 144, number) for number in range(6)])
    recorder = Recorder(stage.storage)
    stage.publish(storage=recorder, policy=POLICY)

    names = stage.storage.names("")
    assert sum(name.endswith(".zip") for name in names) == 2
    assert set(names) >= {*POINTERS, ".well-known/exposure-registry.json", "log/checkpoint", "log/policy"}
    prefix = stage.storage._place.prefix
    for name in names:
        answer = requests.get(seaweed.address(name, prefix), timeout=10)
        assert (answer.status_code, answer.content) == (200, stage.fetch(name))
        serving = serving_of(name)
        assert answer.headers["Content-Type"] == serving.content_type
        assert answer.headers["Cache-Control"] == serving.cache_control
        asked = {"If-None-Match": known_tags(answer.content)}
        again = requests.get(seaweed.address(name, prefix), headers=asked, timeout=10)
        assert (again.status_code, again.content) == (304, b""), name
    part = requests.get(
        seaweed.address(stage.index().windows[-1].files[0].path, f"{prefix}/exposures"),
        headers={"Range": "bytes=2-5"},
        timeout=10,
    )
    assert (part.status_code, len(part.content)) == (206, 4)

    assert recorder.written[-4:] == POINTERS, "proof, index, legacy index; nothing after them"
    stage.check_agreement()
    assert stage.published() == {(number.to_bytes(16), False): 1 for number in range(6)}


def test_two_publishers_on_one_database_and_bucket_leave_one_truth(stage: Publishing) -> None:
    wanted = {}
    for window in range(4):
        keys = [key_ending(NOON - 144 + 6 * window, 10 * window + number) for number in range(6)]
        stage.collect(keys)
        wanted.update({(key.key_data, False): 1 for key in keys})
        outcomes: list[PublishOutcome] = []
        together = threading.Barrier(2)

        def publish(holder: str, outcomes: list[PublishOutcome], together: threading.Barrier) -> None:
            together.wait()
            outcomes.append(stage.publish(holder=holder, policy=POLICY))

        racers = [threading.Thread(target=publish, args=(name, outcomes, together)) for name in "ab"]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert sorted(outcome.windows_sealed for outcome in outcomes) == [0, 1]
        stage.clock.advance(HOUR)
    assert stage.published() == wanted
    stage.check_agreement()


def check(spoilt: Counter[str], runs: int, story: Story) -> None:
    """That calls of every kind were spoilt, and have come to nothing."""
    story.end(runs)
    assert set(spoilt) >= STORING | DATABASE
    assert spoilt.total() > 200 // STEP


@pytest.mark.parametrize("done", [False, True], ids=["failed-before", "failed-after"])
def test_publishing_mends_a_failure_of_any_call(
    stage: Publishing, faulty: FaultyDatabase, done: bool
) -> None:
    """As `tests/crash/publish_story.py` tells it. `done`: the call took effect, and its answer was lost."""
    story = Story(stage)

    def run(faults: Faults) -> object:
        return publish_due(
            lambda: faulty.new_session(faults),
            FaultyStorage(stage.storage, faults),
            stage.signers,
            regions=REGIONS,
            policy=STORY_POLICY,
            profile="demo",
            log=stage.log,
            now=stage.clock(),
            holder="first",
        )

    def mend() -> None:
        faulty.cut()
        story.mend()

    check(*spoil_calls(run, story.prepare, mend, way=done / 4, done=done, dead=False), story)


@pytest.mark.parametrize("done", [False, True], ids=["killed-before", "killed-after"])
def test_publishing_mends_a_kill_at_any_call(
    make_stage: Stage, seaweed: SeaweedServer, tmp_path: Path, done: bool
) -> None:
    """The same, with a process that is killed with -9."""
    stage = make_stage(seaweed, killed_publisher.export_key(), killed_publisher.log())
    killed = KilledPublisher(str(stage.engine.url), stage.storage._place)
    story = Story(stage)

    def run(faults: Faults) -> None:
        killed.run(faults, stage.clock())

    check(*spoil_calls(run, story.prepare, story.mend, way=(2 + done) / 4, done=done, dead=True), story)


def test_a_store_that_dies_in_mid_publish_loses_nothing(make_stage: Stage) -> None:
    with seaweed_server() as server:
        stage = make_stage(server)
        onlooker = Onlooker(stage, [REGION])
        keys = [key_ending(NOON - 144, number) for number in range(6)]
        stage.collect(keys)

        class Killing(FailingStorage):
            """Ends the store when the second file is about to be stored."""

            def put_new(self, path: str, content: bytes) -> bool:
                return self._killing(path) and self._storage.put_new(path, content)

            def put_new_file(self, path: str, source: BinaryIO) -> bool:
                return self._killing(path) and self._storage.put_new_file(path, source)

            def _killing(self, path: str) -> bool:
                if path.endswith("00002.zip"):
                    server.kill()
                return True

        dying = Killing(stage.storage, lambda _call, _path: False, OSError())
        with pytest.raises((PublishingFailed, StorageUnavailable)):
            stage.publish(storage=dying, policy=POLICY)
        server.start()
        # What was stored before is there, under a name that nothing refers to yet.
        assert [name for name in stage.storage.names("exposures/") if name.endswith("1.zip")]
        assert stage.storage.read(legacy_index_path(REGION)) is None
        stage.clock.advance(POLICY.lease_seconds)
        stage.publish(policy=POLICY, holder="second")
        onlooker.look()
        assert onlooker.published[REGION] == {(key.key_data, False): 1 for key in keys}
        stage.check_agreement()


def test_a_publisher_that_the_store_refuses_says_what_to_do_and_loses_nothing(stage: Publishing) -> None:
    keys = [key_ending(NOON - 144, number) for number in range(3)]
    stage.collect(keys)
    place = replace(stage.storage._place, credentials=Credentials("publisher-of-tests", "another's secret"))
    with pytest.raises((PublishingFailed, StorageUnavailable), match="key in the credentials file"):
        stage.publish(storage=S3Storage(place, stored_headers, HASTY), policy=POLICY)
    stage.clock.advance(POLICY.lease_seconds)
    stage.publish(policy=POLICY, holder="second")
    assert stage.published() == {(key.key_data, False): 1 for key in keys}
