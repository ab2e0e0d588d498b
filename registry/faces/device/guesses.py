"""Bounds guessing at codes, by the rules of `protocol.guessing`, in this process's memory.

Networks are known by a keyed hash whose key is made anew every hour and kept nowhere else; with it goes what
was counted of them, and of an hour stays one sum for each authority. Must never refuse a first try from a
network that has not failed, nor let an answer depend on whether a code that it refuses to look at is right.
"""

import hmac
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from typing import TypeVar

from registry.errors import Refusal, RefusalCode
from registry.lifecycle.guessing import WrongCodes
from registry.protocol.codes import is_link_code, normalise
from registry.protocol.guessing import COUNTED_SECONDS, GuessBudget
from registry.protocol.intervals import Clock

FAILURES = frozenset({RefusalCode.CODE_INVALID, RefusalCode.CODE_EXPIRED})
"""What a wrong guess is answered with."""
MOST_NETWORKS = 200_000
"""That are counted each by itself. What comes after them is counted by 65,536 kinds, so that nobody fills the
memory; then a first try may find its kind used up by others."""

_KEY_BYTES = 32
_NAME_BYTES = 16
_KIND_BYTES = 2


class TooManyGuesses(Exception):
    """The try was not looked at. `again_at`: when the next hour begins, in unix seconds."""

    def __init__(self, again_at: int) -> None:
        super().__init__("too many wrong codes from this network")
        self.again_at = again_at


class _Hour:
    """What was tried in one hour of the clock, by network and by authority.

    `tried` are those that were let in and did not succeed, `failed` those of them of which it is known.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.tried = Counter[bytes]()
        self.failed = Counter[bytes]()
        self.tried_of = Counter[str]()
        self.failed_of = Counter[str]()
        self.refused_of = Counter[str]()
        self._key = secrets.token_bytes(_KEY_BYTES)

    def sums(self) -> list[WrongCodes]:
        """What is left of the hour when it has ended."""
        return [
            WrongCodes(
                authority_id,
                self.number * COUNTED_SECONDS,
                self.failed_of[authority_id],
                self.refused_of[authority_id],
            )
            for authority_id in sorted(self.failed_of | self.refused_of)
        ]

    def name_of(self, authority_id: str, network: bytes) -> bytes:
        """What the network is counted under."""
        name = hmac.digest(self._key, network + authority_id.encode(), "sha256")[:_NAME_BYTES]
        is_crowded = len(self.tried) >= MOST_NETWORKS and name not in self.tried
        return name[:_KIND_BYTES] if is_crowded else name


class Guesses:
    """What failed in this hour of the clock, and what may still be tried."""

    def __init__(self, budget: GuessBudget, clock: Clock, *, room: GuessBudget | None = None) -> None:
        self._budget = budget
        self._room = room or budget
        self._clock = clock
        self._hour = _Hour(0)
        self._changed = Condition()
        self._ended: list[WrongCodes] = []

    def ended(self) -> list[WrongCodes]:
        """The sums of hours that have ended, each once: they are the caller's to keep."""
        with self._changed:
            self._this_hour()
            ended, self._ended = self._ended, []
            return ended

    @contextmanager
    def looked_at(
        self, code: str, *, authority_id: str, network: bytes, can_be_guessed: bool = True
    ) -> Iterator[None]:
        """Around looking at a code that was tried: raises TooManyGuesses instead, or counts if it fails.

        Of tries that come together one waits for those before it if its turn hangs on what comes of them:
        many at once find out no more than one after the other, and no right one pays for them. Whoever calls
        must hold no database connection, which those before it may need. There is more room unless the
        authority has codes that `can_be_guessed`, those of eight digits.
        """
        if is_link_code(normalise(code)):
            yield
            return
        hour, name = self._let_in(authority_id, network, self._budget if can_be_guessed else self._room)
        failed = False
        try:
            yield
        except Refusal as refusal:
            failed = refusal.code in FAILURES
            raise
        finally:
            with self._changed:
                if failed:
                    hour.failed[name] += 1
                    hour.failed_of[authority_id] += 1
                else:
                    _take_back(hour.tried, name)
                    _take_back(hour.tried_of, authority_id)
                self._changed.notify_all()

    def _let_in(self, authority_id: str, network: bytes, budget: GuessBudget) -> tuple[_Hour, bytes]:
        with self._changed:
            while True:
                hour = self._this_hour()
                name = hour.name_of(authority_id, network)
                # As if all that is under way were to fail: so the bound holds whatever comes of it.
                if budget.allows(hour.tried[name], hour.tried_of[authority_id]):
                    hour.tried[name] += 1
                    hour.tried_of[authority_id] += 1
                    return hour, name
                if not budget.allows(hour.failed[name], hour.failed_of[authority_id]):
                    hour.refused_of[authority_id] += 1
                    raise TooManyGuesses((hour.number + 1) * COUNTED_SECONDS)
                self._changed.wait()

    def _this_hour(self) -> _Hour:
        number = int(self._clock() // COUNTED_SECONDS)
        # A clock that was set back begins nothing anew.
        if number > self._hour.number:
            self._ended += self._hour.sums()
            self._hour = _Hour(number)
        return self._hour


_Name = TypeVar("_Name", bytes, str)


def _take_back(counter: "Counter[_Name]", name: _Name) -> None:
    """What succeeded leaves nothing behind."""
    counter[name] -= 1
    if not counter[name]:
        del counter[name]
