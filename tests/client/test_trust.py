"""Which trust material may replace which: pure rules, one test each."""

from dataclasses import replace

import pytest

from registry.client.failures import TrustRefused
from registry.client.trust import KeyChange, check_next_trust
from registry.protocol.trust import TrustMaterial, decode_trust
from tests.clock import NOON_OF_JUNE_15
from tests.simulator import Simulator


@pytest.fixture
def pinned() -> TrustMaterial:
    """Two keys, in production."""
    registry = Simulator(lambda: NOON_OF_JUNE_15)
    registry.trusted.append(registry.new_key("2"))
    return decode_trust(registry.trust())


def test_the_same_again_changes_nothing(pinned: TrustMaterial) -> None:
    assert check_next_trust(pinned, pinned, region="XA") == KeyChange((), ())


def test_keys_may_come_and_go_while_one_stays(pinned: TrustMaterial) -> None:
    new = replace(pinned.export_signing_keys[0], key_version="3")
    fetched = replace(pinned, export_signing_keys=(pinned.export_signing_keys[1], new))
    assert check_next_trust(pinned, fetched, region="XA") == KeyChange(("XA_export-3",), ("XA_export-1",))


def test_the_same_names_for_other_keys_are_no_continuity(pinned: TrustMaterial) -> None:
    first, second = pinned.export_signing_keys
    swapped = (
        replace(first, public_key_pem=second.public_key_pem),
        replace(second, public_key_pem=first.public_key_pem),
    )
    with pytest.raises(TrustRefused, match="none of the pinned keys"):
        check_next_trust(pinned, replace(pinned, export_signing_keys=swapped), region="XA")


def test_a_registry_for_real_people_never_becomes_a_demonstration(pinned: TrustMaterial) -> None:
    with pytest.raises(TrustRefused, match="from production to demo"):
        check_next_trust(pinned, replace(pinned, profile="demo"), region="XA")


def test_older_trust_material_is_refused(pinned: TrustMaterial) -> None:
    with pytest.raises(TrustRefused, match="older"):
        check_next_trust(pinned, replace(pinned, issued_at=pinned.issued_at - 1), region="XA")


def test_a_region_does_not_vanish(pinned: TrustMaterial) -> None:
    with pytest.raises(TrustRefused, match="no region"):
        check_next_trust(pinned, replace(pinned, regions=("XB",)), region="XA")


def test_without_any_key_nothing_can_be_believed(pinned: TrustMaterial) -> None:
    with pytest.raises(TrustRefused, match="no export signing key"):
        check_next_trust(pinned, replace(pinned, export_signing_keys=()), region="XA")
