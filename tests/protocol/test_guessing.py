"""Which network an address is of, and how many guesses can be looked at: the arithmetic of the bound."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.protocol.codes import CodeForm
from registry.protocol.guessing import (
    GuessBudget,
    chance_of_a_hit,
    expected_hits,
    most_looked_at,
    network_of,
)

budgets = st.builds(
    GuessBudget,
    of_network=st.integers(1, 50),
    when_guessed=st.integers(1, 9),
    of_authority=st.integers(1, 2000),
)


@given(st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_addresses_of_one_24_are_one_network(one: IPv4Address, other: IPv4Address) -> None:
    same = int(one) >> 8 == int(other) >> 8
    assert (network_of(str(one)) == network_of(str(other))) == same
    assert network_of(f"::ffff:{one}") == network_of(str(one)), "over IPv6 it is still that address"


@given(st.ip_addresses(v=6), st.integers(0, 2**72 - 1), st.integers(0, 127))
def test_addresses_of_one_56_are_one_network(one: IPv6Address, elsewhere: int, bit: int) -> None:
    if one.ipv4_mapped is not None:
        return
    neighbour = IPv6Address(int(one) >> 72 << 72 | elsewhere)
    assert network_of(str(one)) == network_of(str(neighbour))
    changed = IPv6Address(int(one) ^ 1 << bit)
    if changed.ipv4_mapped is None:
        assert (network_of(str(changed)) == network_of(str(one))) == (bit < 72)


@given(st.ip_addresses(v=4), st.ip_addresses(v=6))
def test_no_network_of_one_kind_is_one_of_the_other(four: IPv4Address, six: IPv6Address) -> None:
    if six.ipv4_mapped is None:
        assert network_of(str(four)) != network_of(str(six))


def test_a_48_holds_256_networks_and_scopes_and_spellings_do_not_matter() -> None:
    whole = IPv6Network("2001:db8:7::/48")
    assert len({network_of(str(net[1])) for net in whole.subnets(new_prefix=56)}) == 256
    assert network_of("2001:DB8:0:0::1") == network_of("2001:db8::1%eth0")


@pytest.mark.parametrize("text", ["", "unknown", "192.0.2", "192.0.2.1:80", "[2001:db8::1]", "::g", "1" * 99])
def test_what_is_no_address_has_no_network(text: str) -> None:
    assert network_of(text) == b""
    with pytest.raises(ValueError, match="does not appear"):
        ip_address(text)


@given(budgets, st.integers(1, 16))
def test_the_processes_shares_are_enough_for_one_try_each_and_little_more_than_the_whole(
    budget: GuessBudget, processes: int
) -> None:
    each = budget.share(processes)
    for name in ("of_network", "when_guessed", "of_authority"):
        whole, part = getattr(budget, name), getattr(each, name)
        assert part >= 1
        assert whole <= part * processes < whole + processes
    assert each.allows(0, 0)
    assert each.allows(0, 10**9), "whatever others do"


@given(budgets, st.integers(1, 4), st.lists(st.integers(0, 300), max_size=400))
def test_no_order_of_failures_gets_past_the_bound(
    budget: GuessBudget, processes: int, networks: list[int]
) -> None:
    """Played as the rules say, every process met by every network as often as it likes."""
    each, looked_at = budget.share(processes), 0
    for _process in range(processes):
        failures = dict.fromkeys(networks, 0)
        for network in networks:
            if each.allows(failures[network], sum(failures.values())):
                failures[network] += 1
        looked_at += sum(failures.values())
    assert looked_at <= most_looked_at(budget, networks=len(set(networks)), processes=processes)


def test_the_bound_is_reached_by_who_knows_the_rules() -> None:
    budget = GuessBudget(of_network=5, when_guessed=2, of_authority=12)
    failures = [0] * 9
    for network in [*range(9)] * 5:
        failures[network] += budget.allows(failures[network], sum(failures))
    assert sum(failures) == 2 * 9
    failures = [0] * 9
    for network in sorted([*range(9)] * 5):
        failures[network] += budget.allows(failures[network], sum(failures))
    assert sum(failures) == 5 + 5 + 2 * 7 == 24 <= most_looked_at(budget, networks=9, processes=1) == 30


def test_figures_that_can_be_worked_out_by_hand() -> None:
    budget = GuessBudget(of_network=30, when_guessed=4, of_authority=1000)
    assert most_looked_at(budget, networks=1, processes=1) == 30
    assert most_looked_at(budget, networks=200, processes=2) == 1800
    assert most_looked_at(budget, networks=200, processes=2, hours=25) == 45_000
    live = {CodeForm.SHORT: 5000, CodeForm.DIGITS: 100_000}
    assert expected_hits(1800, live) == pytest.approx(0.09)
    assert chance_of_a_hit(1800, live) == pytest.approx(1 - 2.718281828**-0.09)
    assert chance_of_a_hit(1800, {CodeForm.DIGITS: 5000}) == pytest.approx(9e-8)
    assert chance_of_a_hit(1800, {}) == 0
