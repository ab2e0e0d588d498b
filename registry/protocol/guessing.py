"""How many guesses at codes are looked at, and the chance that one of them is right: pure arithmetic.

Failed tries are counted by the hour, for each authority and for each network that they come from (a /24 of
IPv4, a /56 of IPv6: what one subscriber or one small network has). The rules:

1. What succeeds is never counted, and a first try from a network without a failure is always looked at.
2. A network has `of_network` failures in an hour. What comes after them is not looked at.
3. Once an authority has `of_authority` failures in an hour, somebody is guessing: for the rest of it every
   network has `when_guessed` only.
4. Where no code of eight digits can be used there is `ROOM` for more: of 46 bits nobody guesses one either,
   and behind one address of a carrier are thousands of people who mistype.
5. Codes of links are looked at always and never counted: of 130 bits nobody guesses one.

So of n networks no more than min(n * of_network, of_authority + n * when_guessed) failures are looked at in
an hour of the clock. A new hour begins with nothing counted, so any sixty minutes touch two of them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Self

from registry.protocol.codes import CodeForm, space_of

COUNTED_SECONDS = 3600

_NETWORK_BITS = {4: 24, 6: 56}


@dataclass(frozen=True, slots=True)
class GuessBudget:
    """Failed tries that are looked at in an hour of the clock; see the rules above."""

    of_network: int = 30
    """Room for the slips of many who share one address."""
    when_guessed: int = 4
    """Room for one person's slips."""
    of_authority: int = 1000

    def share(self, processes: int) -> Self:
        """What each of so many processes has, which know nothing of each other: at least one of each."""
        return type(self)(
            of_network=math.ceil(self.of_network / processes),
            when_guessed=math.ceil(self.when_guessed / processes),
            of_authority=math.ceil(self.of_authority / processes),
        )

    def allows(self, failures_of_network: int, failures_of_authority: int) -> bool:
        """Whether a try is looked at after so many failures of its network and of its authority."""
        is_guessed = failures_of_authority >= self.of_authority
        most = min(self.when_guessed, self.of_network) if is_guessed else self.of_network
        return failures_of_network < most


ROOM = GuessBudget(of_network=2000, of_authority=4000)
"""Where all codes are long: 5,000 of them are found once in centuries by whoever uses up all of it."""


def network_of(address: str) -> bytes:
    """The network of an IP address, as so many leading bits of it; empty for what is no address.

    An IPv4 address that came over IPv6 (`::ffff:192.0.2.1`) is an IPv4 address.
    """
    try:
        found: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return b""
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return bytes([found.version]) + found.packed[: _NETWORK_BITS[found.version] // 8]


def most_looked_at(budget: GuessBudget, *, networks: int, processes: int, hours: int = 1) -> int:
    """The most failed guesses from so many networks that a registry with this budget looks at.

    `hours` are hours of the clock that are touched: two in any sixty minutes, 25 in any day.
    """
    each = budget.share(processes)
    of_process = min(networks * each.of_network, each.of_authority + networks * each.when_guessed)
    return hours * processes * of_process


def expected_hits(guesses: int, live: Mapping[CodeForm, int]) -> float:
    """How many of so many guesses are right, on average, if all are of the form that is guessed best.

    `live` says how many codes of each form can be used at present.
    """
    return guesses * max((count / space_of(form) for form, count in live.items()), default=0.0)


def chance_of_a_hit(guesses: int, live: Mapping[CodeForm, int]) -> float:
    """The probability, 0 to 1, that one guess or more is right."""
    return -math.expm1(-expected_hits(guesses, live))
