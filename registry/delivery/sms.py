"""A code by SMS: through the gateways that serve the number's country, in their order, from memory alone.

What is to be sent lies in this process and nowhere else, until a gateway has answered or the process ends. A
crash loses it: the code is good, nobody has it, and its issuer reads "not known to be delivered" and can send
it again. Of each SMS there is one outcome, which names no number.

Where a gateway did not say what it did (it went silent, or broke off, after it had been asked) the next one
is asked all the same: two SMS with one code cost a cent, and none costs everybody whom the person has met.
The outcome says then that it may arrive twice.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass, field
from enum import StrEnum
from threading import BoundedSemaphore
from typing import Protocol

from registry.delivery.phone_number import PhoneNumber
from registry.errors import Refusal, RefusalCode

log = logging.getLogger("registry.delivery")

MOST_AT_ONCE = 16
"""SMS that a process has under way."""
MOST_WAITING = 64
"""SMS that a process has taken in, those under way among them."""
PATIENCE_SECONDS = 25.0
"""How long somebody waits for the outcome. Less than the web server's own patience of a minute."""


@dataclass(frozen=True, slots=True)
class Sms:
    """One SMS. Prints as nothing."""

    to: PhoneNumber = field(repr=False)
    text: str = field(repr=False)


class Answer(StrEnum):
    """What one gateway said."""

    ACCEPTED = "accepted"
    """It will send it."""
    REFUSED = "refused"
    """It refuses this number or this text, and so would the next."""
    FAILED = "failed"
    """It has not sent it, and cannot now: the next one is asked."""
    UNCLEAR = "unclear"
    """It may have sent it."""


class SmsGateway(Protocol):
    """Whoever passes an SMS on."""

    @property
    def name(self) -> str:
        """What logs call it."""
        ...

    def serves(self, number: PhoneNumber) -> bool:
        """Whether it sends to the number's country."""
        ...

    def send(self, sms: Sms) -> Answer:
        """Pass it on, once, and wait for an answer, no longer than it was told to. Raises nothing."""
        ...


class Delivery(StrEnum):
    """What became of an SMS."""

    SENT = "sent"
    """A gateway accepted it."""
    REFUSED = "refused"
    """A gateway refused the number."""
    FAILED = "failed"
    """No gateway sent it."""
    UNKNOWN = "unknown"
    """It is not known whether it was sent."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an SMS. `maybe_twice`: one gateway may have sent it before another accepted it."""

    delivery: Delivery
    maybe_twice: bool = False

    @property
    def word(self) -> str:
        """As a code's row keeps it: the delivery's, or `twice`."""
        return "twice" if self.maybe_twice else self.delivery.value


class SmsDesk:
    """Sends SMS through gateways, in threads of its own, a bounded number at a time."""

    def __init__(self, gateways: Sequence[SmsGateway], *, most_waiting: int = MOST_WAITING) -> None:
        self._gateways = tuple(gateways)
        # Threads begin with the first SMS, and so in the process that serves, however it was forked.
        self._threads = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="sms")
        self._room = BoundedSemaphore(most_waiting)

    def check(self, number: PhoneNumber) -> None:
        """Refuses with `sms_failure` if no gateway serves the number's country."""
        self._serving(number)

    def check_room(self) -> None:
        """Refuses with `sms_queue_full` if nothing more is taken in now."""
        self._take_room()
        self._room.release()

    def send(self, sms: Sms) -> Outcome:
        """Send it and wait for the outcome, for `PATIENCE_SECONDS` at most.

        Refuses with `sms_failure` if no gateway serves the country and with `sms_queue_full` if too many wait
        before it; nothing is sent then.
        """
        pending = self.post(sms)
        try:
            return pending.result(PATIENCE_SECONDS)
        except NotInTime:
            # One that has not begun never will.
            return Outcome(Delivery.FAILED if pending.cancel() else Delivery.UNKNOWN)

    def post(self, sms: Sms, then: Callable[[Outcome], None] | None = None) -> "Future[Outcome]":
        """Take it in and come back at once; `then` is called with the outcome, in another thread.

        Refuses as `send` does.
        """
        gateways = self._serving(sms.to)
        self._take_room()
        try:
            pending = self._threads.submit(_send, gateways, sms, then)
        except RuntimeError as error:
            # The process is about to end: nothing more is taken in.
            self._room.release()
            raise Refusal(RefusalCode.SMS_FAILURE, "no SMS is sent now: try again in a minute") from error
        pending.add_done_callback(lambda _pending: self._room.release())
        return pending

    def _take_room(self) -> None:
        if not self._room.acquire(blocking=False):
            raise Refusal(RefusalCode.SMS_QUEUE_FULL, "too many SMS wait to be sent: try again in a minute")

    def _serving(self, number: PhoneNumber) -> tuple[SmsGateway, ...]:
        serving = tuple(gateway for gateway in self._gateways if gateway.serves(number))
        if not serving:
            raise Refusal(RefusalCode.SMS_FAILURE, f"no gateway sends SMS to {number}")
        return serving


def _send(gateways: Sequence[SmsGateway], sms: Sms, then: Callable[[Outcome], None] | None) -> Outcome:
    try:
        outcome = _first_that_sends(gateways, sms)
    except Exception as error:
        # Its kind alone: its text, or its trace, may hold the number.
        log.error(  # noqa: TRY400
            "unexpected fault of an SMS gateway: %s", type(error).__qualname__
        )
        outcome = Outcome(Delivery.UNKNOWN)
    if then is not None:
        try:
            then(outcome)
        except Exception as error:
            # Nobody waits for it: it is told here or nowhere.
            log.error(  # noqa: TRY400
                "unexpected fault after an SMS: %s", type(error).__qualname__
            )
    return outcome


def _first_that_sends(gateways: Sequence[SmsGateway], sms: Sms) -> Outcome:
    unclear = False
    for gateway in gateways:
        answer = gateway.send(sms)
        if answer is Answer.ACCEPTED:
            return Outcome(Delivery.SENT, maybe_twice=unclear)
        if answer is Answer.REFUSED:
            return Outcome(Delivery.UNKNOWN if unclear else Delivery.REFUSED)
        unclear = unclear or answer is Answer.UNCLEAR
    return Outcome(Delivery.UNKNOWN if unclear else Delivery.FAILED)
