"""Guessing is bounded in memory: who guesses is not looked at any more, and nobody else is kept out."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Refusal, RefusalCode
from registry.faces.device import guesses as module
from registry.faces.device.addresses import calling_network
from registry.faces.device.guesses import Guesses, TooManyGuesses
from registry.lifecycle.guessing import WrongCodes
from registry.protocol.guessing import GuessBudget, most_looked_at, network_of
from tests.clock import FakeClock

AUTHORITY, NEIGHBOUR = "org.example.health", "org.example.neighbour"
BUDGET = GuessBudget(of_network=5, when_guessed=2, of_authority=12)
HERE, THERE = network_of("192.0.2.1"), network_of("198.51.100.1")


def end_with(outcome: RefusalCode | None) -> None:
    """What looking at a code comes to; None for success."""
    if outcome is not None:
        raise Refusal(outcome, "as it came")


def tried(
    guesses: Guesses,
    outcome: RefusalCode | None = RefusalCode.CODE_INVALID,
    *,
    network: bytes = HERE,
    authority_id: str = AUTHORITY,
    code: str = "12345678",
) -> bool:
    """Whether a try that ends like this was looked at."""
    try:
        with guesses.looked_at(code, authority_id=authority_id, network=network):
            end_with(outcome)
    except TooManyGuesses:
        return False
    except Refusal:
        pass
    return True


@pytest.fixture
def guesses(clock: FakeClock) -> Guesses:
    """A process's counts."""
    return Guesses(BUDGET, clock)


def test_a_network_that_failed_too_often_is_told_when_the_next_hour_begins(
    guesses: Guesses, clock: FakeClock
) -> None:
    clock.advance(1234)
    assert [tried(guesses) for _ in range(7)] == [True] * 5 + [False] * 2
    with (
        pytest.raises(TooManyGuesses) as refused,
        guesses.looked_at("1", authority_id=AUTHORITY, network=HERE),
    ):
        pass
    assert refused.value.again_at == clock() - 1234 + 3600
    assert tried(guesses, network=THERE)
    assert tried(guesses, authority_id=NEIGHBOUR), "another authority's budget is its own"
    clock.advance(3600 - 1235)
    assert not tried(guesses)
    clock.advance(1)
    assert tried(guesses)
    clock.advance(-3600)
    assert [tried(guesses) for _ in range(5)] == [True] * 4 + [False], "a clock set back gives nothing back"


def test_what_succeeds_and_what_is_no_guess_is_not_counted(guesses: Guesses) -> None:
    for outcome in (None, RefusalCode.UNSUPPORTED_TEST_TYPE, RefusalCode.MAINTENANCE_MODE) * 50:
        assert tried(guesses, outcome)
    assert [tried(guesses, RefusalCode.CODE_EXPIRED) for _ in range(6)] == [True] * 5 + [False]


def test_a_fault_of_ours_is_not_counted_against_anybody(guesses: Guesses) -> None:
    for _ in range(20):
        with pytest.raises(ZeroDivisionError), guesses.looked_at("1", authority_id=AUTHORITY, network=HERE):
            1 / 0  # noqa: B018
    assert tried(guesses)


def test_when_an_authority_is_guessed_at_networks_have_less_and_a_clean_one_still_its_first_tries(
    guesses: Guesses,
) -> None:
    for number in range(12):
        assert tried(guesses, network=b"%d" % number)
    assert [tried(guesses, network=b"0") for _ in range(2)] == [True, False]
    assert [tried(guesses, network=HERE) for _ in range(3)] == [True, True, False]
    assert [tried(guesses, network=HERE, authority_id=NEIGHBOUR) for _ in range(5)] == [True] * 5


@pytest.mark.parametrize("code", ["A" * 26, "abcd efgh-ijklmnopqrstuvwxyz", "7" * 26])
def test_codes_of_links_are_always_looked_at_and_never_counted(guesses: Guesses, code: str) -> None:
    while tried(guesses):
        pass
    assert all(tried(guesses, code=code) for _ in range(50))
    assert not tried(guesses, code=code[:-1])
    assert tried(guesses, network=THERE)


@given(st.randoms(use_true_random=False), st.integers(1, 30), st.integers(1, 400))
def test_no_order_of_tries_over_hours_gets_past_the_bound_or_keeps_a_clean_network_out(
    chance: random.Random, networks: int, tries: int
) -> None:
    clock = FakeClock()
    guesses, looked_at, hours = Guesses(BUDGET, clock), 0, {int(clock() // 3600)}
    for number in range(tries):
        clock.advance(chance.choice((0, 0, 1, 60)))
        hours.add(int(clock() // 3600))
        looked_at += tried(guesses, network=b"%d" % chance.randrange(networks))
        assert tried(guesses, None, network=b"clean-%d" % number)
    assert looked_at <= most_looked_at(BUDGET, networks=networks, processes=1, hours=len(hours))


def test_at_the_turn_of_the_hour_no_more_than_two_hours_budgets_can_be_had(
    guesses: Guesses, clock: FakeClock
) -> None:
    clock.advance(3599)
    burst = sum(tried(guesses, network=b"%d" % (number % 9)) for number in range(200))
    clock.advance(1)
    burst += sum(tried(guesses, network=b"%d" % (number % 9)) for number in range(200))
    assert burst <= most_looked_at(BUDGET, networks=9, processes=1, hours=2)


def test_nothing_of_a_network_is_kept_in_clear_and_each_hour_has_a_key_of_its_own(
    guesses: Guesses, clock: FakeClock
) -> None:
    tried(guesses)
    (first,) = guesses._hour.failed
    assert HERE not in first
    assert HERE[1:] not in first
    clock.advance(3600)
    tried(guesses)
    assert list(guesses._hour.failed) != [first]
    assert len(guesses._hour.failed) == 1


def test_of_an_hour_that_has_ended_stays_one_sum_for_each_authority(
    guesses: Guesses, clock: FakeClock
) -> None:
    hour = int(clock())
    for number in range(12):
        tried(guesses, network=b"%d" % (number % 2))
        tried(guesses, None)
    tried(guesses, authority_id=NEIGHBOUR)
    assert guesses.ended() == []
    clock.advance(3600)
    assert guesses.ended() == [WrongCodes(AUTHORITY, hour, 10, 2), WrongCodes(NEIGHBOUR, hour, 1, 0)]
    assert guesses.ended() == []
    clock.advance(3600)
    assert guesses.ended() == [], "an hour without any is not told"


def test_the_memory_is_bounded_by_counting_the_rest_by_kinds(
    guesses: Guesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_NETWORKS", 10)
    monkeypatch.setattr(module, "_KIND_BYTES", 0)  # all of one kind
    for number in range(10):
        assert tried(guesses, network=b"%d" % number)
    assert [tried(guesses, network=b"more-%d" % number) for number in range(30)].count(True) == 2
    assert len(guesses._hour.tried) == 11
    assert tried(guesses, network=b"9"), "those that are known are counted by themselves as before"


# ---------------------------------------------------------------- at once


def at_once(times: int, step: Callable[[int], bool]) -> list[bool]:
    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(step, range(times)))


def test_many_wrong_guesses_at_once_find_out_no_more_than_one_after_the_other(clock: FakeClock) -> None:
    guesses = Guesses(GuessBudget(of_network=3, when_guessed=1, of_authority=100), clock)
    together = threading.Barrier(20)

    def guess(_number: int) -> bool:
        together.wait()
        try:
            with guesses.looked_at("1", authority_id=AUTHORITY, network=HERE):
                time.sleep(0.002)
                end_with(RefusalCode.CODE_INVALID)
        except TooManyGuesses:
            return False
        except Refusal:
            return True
        return True

    assert at_once(20, guess).count(True) == 3


def test_right_codes_at_once_from_one_network_are_all_taken(clock: FakeClock) -> None:
    guesses = Guesses(GuessBudget(of_network=2, when_guessed=1, of_authority=3), clock)
    together = threading.Barrier(20)

    def redeem(_number: int) -> bool:
        together.wait()
        with guesses.looked_at("1", authority_id=AUTHORITY, network=HERE):
            time.sleep(0.002)
        return True

    assert all(at_once(20, redeem))


# ---------------------------------------------------------------- addresses

PEER = "203.0.113.9"


@pytest.mark.parametrize(
    ("proxies", "forwarded", "caller"),
    [
        (0, None, PEER),
        (0, "192.0.2.1", PEER),
        (1, "192.0.2.1", "192.0.2.1"),
        (1, "198.51.100.1, 192.0.2.1", "192.0.2.1"),
        (2, "198.51.100.1, 192.0.2.1,10.0.0.7", "192.0.2.1"),
        (1, "198.51.100.1,2001:db8::1", "2001:db8::1"),
        (2, "192.0.2.1", PEER),
        (1, None, PEER),
        (1, "", PEER),
        (1, "192.0.2.1, nonsense", PEER),
    ],
)
def test_the_caller_is_whom_our_own_proxy_names_and_nobody_else(
    proxies: int, forwarded: str | None, caller: str
) -> None:
    environ = {"REMOTE_ADDR": PEER}
    if forwarded is not None:
        environ["HTTP_X_FORWARDED_FOR"] = forwarded
    assert calling_network(environ, proxies) == network_of(caller)


def test_without_any_address_all_are_of_one_network() -> None:
    assert calling_network({}, 0) == b""
    assert calling_network({"REMOTE_ADDR": ""}, 1) == b""
