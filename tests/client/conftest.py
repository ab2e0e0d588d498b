"""Phones and the simulated registry that they belong to."""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from registry.client import Enrolment, Phone
from registry.protocol.keys import ReportType, TemporaryExposureKey
from tests.clock import FakeClock
from tests.simulated_log import FINGERPRINT
from tests.simulator import BASE_URL, Simulator

MakePhone = Callable[..., Phone]

ENROLMENT = Enrolment(
    BASE_URL, health_authority_id="authority", device_api_key="device-key", fingerprint=FINGERPRINT
)


@pytest.fixture
def simulator(clock: FakeClock) -> Simulator:
    """A registry in production."""
    return Simulator(clock)


@pytest.fixture
def make_phone(simulator: Simulator, clock: FakeClock, tmp_path: Path) -> Iterator[MakePhone]:
    """Function from a name to a phone that is set up; the same name again opens the same store."""
    randomness = random.Random(7)
    with ExitStack() as phones:

        def make(name: str, *, staged: bool = False) -> Phone:
            phone = phones.enter_context(
                Phone.open(tmp_path / f"{name}.db", simulator, clock=clock, random_bytes=randomness.randbytes)
            )
            if not phone.store.is_set_up():
                demonstration = simulator.profile == "demo"
                phone.set_up(replace(ENROLMENT, demonstration=demonstration, staged=staged))
            return phone

        yield make


def meet(alice: Phone, bob: Phone, *, at: float, minutes: int = 15) -> None:
    """Bob's phone receives what Alice's broadcasts."""
    bob.observe(alice.advertise(at=at, minutes=minutes))


def as_published(
    key: TemporaryExposureKey, report_type: ReportType = ReportType.CONFIRMED_TEST
) -> TemporaryExposureKey:
    """A phone's key with what a registry publishes about it."""
    return replace(key, report_type=report_type, transmission_risk_level=1, days_since_onset_of_symptoms=0)
