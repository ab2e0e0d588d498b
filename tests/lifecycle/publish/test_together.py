"""Two publishers at once, and one that overslept its lease: nothing is doubled, nothing is lost."""

import threading
from collections.abc import Callable
from typing import BinaryIO, TypeVar

import pytest

from registry.errors import LeaseLost
from registry.lifecycle.publish import PublishOutcome
from registry.storage import Storage
from tests.publishing import HOUR, HOURLY, NOON, Publishing, key_ending

T = TypeVar("T")


class InterruptedStorage:
    """A storage that calls `interruption` once, before or after the first call that `matches`."""

    def __init__(
        self,
        storage: Storage,
        matches: Callable[[str, str], bool],
        interruption: Callable[[], object],
        *,
        after: bool,
    ) -> None:
        self._storage = storage
        self._matches = matches
        self._interruption: Callable[[], object] | None = interruption
        self._after = after

    def _call(self, call: str, path: str, act: Callable[[], T]) -> T:
        interruption = self._interruption
        if interruption is None or not self._matches(call, path):
            return act()
        self._interruption = None
        if not self._after:
            interruption()
        result = act()
        if self._after:
            interruption()
        return result

    def put_new(self, path: str, content: bytes) -> bool:
        return self._call("put_new", path, lambda: self._storage.put_new(path, content))

    def put_new_file(self, path: str, source: BinaryIO) -> bool:
        return self._call("put_new_file", path, lambda: self._storage.put_new_file(path, source))

    def replace(self, path: str, content: bytes) -> None:
        self._call("replace", path, lambda: self._storage.replace(path, content))

    def read(self, path: str) -> bytes | None:
        return self._call("read", path, lambda: self._storage.read(path))

    def open_file(self, path: str) -> BinaryIO | None:
        return self._call("open_file", path, lambda: self._storage.open_file(path))

    def delete(self, path: str) -> None:
        self._call("delete", path, lambda: self._storage.delete(path))

    def names(self, prefix: str, *, deep: bool = True) -> list[str]:
        return self._storage.names(prefix, deep=deep)


def test_of_two_publishers_at_once_one_wins_and_nothing_is_doubled(stage: Publishing) -> None:
    collected = []
    for window in range(4):
        keys = [key_ending(NOON - 144 + 6 * window, 10 * window + number) for number in range(5)]
        stage.collect(keys)
        collected += [(key.key_data, False) for key in keys]
        outcomes: dict[str, PublishOutcome] = {}
        together = threading.Barrier(2)

        def publish(holder: str, outcomes: dict[str, PublishOutcome], together: threading.Barrier) -> None:
            together.wait()
            outcomes[holder] = stage.publish(holder=holder)

        threads = [threading.Thread(target=publish, args=(name, outcomes, together)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # The other was told that one is at work, or came when all was done.
        assert sorted(outcome.windows_sealed for outcome in outcomes.values()) == [0, 1]
        stage.clock.advance(HOUR)
    assert stage.published() == dict.fromkeys(collected, 1)
    assert [batch.sequence for batch in stage.batches()] == [1, 2, 3, 4]
    stage.check_agreement()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("call", "ending"), [("read", "index.json"), ("put_new", "00001.zip")])
def test_a_publisher_that_overslept_its_lease_is_shut_out(
    stage: Publishing, call: str, ending: str, after: bool
) -> None:
    keys = [key_ending(NOON - 144, number) for number in range(3)]
    stage.collect(keys)

    def another_takes_over() -> None:
        stage.clock.advance(HOURLY.lease_seconds)
        assert stage.publish(holder="b").busy is False

    storage = InterruptedStorage(
        stage.storage,
        lambda name, path: name == call and path.endswith(ending),
        another_takes_over,
        after=after,
    )
    with pytest.raises(LeaseLost):
        stage.publish(storage=storage, holder="a")
    before = {name: stage.fetch(name) for name in stage.storage.names("")}
    assert stage.published() == {(key.key_data, False): 1 for key in keys}
    stage.check_agreement()
    stage.publish(holder="a")
    assert {name: stage.fetch(name) for name in stage.storage.names("")} == before
    assert len(stage.batches()) == 1


def test_while_a_lease_runs_another_does_nothing(stage: Publishing) -> None:
    stage.collect([key_ending(NOON - 144, 1)])
    others: list[PublishOutcome] = []
    storage = InterruptedStorage(
        stage.storage,
        lambda name, path: name == "put_new" and path.endswith(".zip"),
        lambda: others.append(stage.publish(holder="b")),
        after=False,
    )
    assert len(stage.publish(storage=storage, holder="a").batches) == 1
    assert [outcome.busy for outcome in others] == [True]
    # Released with the run's end, not only when it has run out.
    assert stage.publish(holder="b").busy is False
