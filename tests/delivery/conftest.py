"""Gateways that really listen."""

from collections.abc import Iterator

import pytest

from tests.delivery.gateway import SuiteGateway, suite_gateway


@pytest.fixture
def first() -> Iterator[SuiteGateway]:
    """The gateway that is asked first."""
    with suite_gateway() as gateway:
        yield gateway


@pytest.fixture
def second() -> Iterator[SuiteGateway]:
    """The one that is asked after it."""
    with suite_gateway() as gateway:
        yield gateway
