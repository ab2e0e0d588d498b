"""Which trust material may be pinned, and which may replace it: pure rules, one test each."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from registry.client.failures import TrustExpired, TrustRefused
from registry.client.trust import (
    NOTE_GRACE_SECONDS,
    KeyChange,
    SignedTrust,
    check_in_time,
    check_next_trust,
    open_signed_trust,
)
from registry.errors import BadSignature, UntrustedKey
from registry.protocol.trust import TrustMaterial, decode_trust, encode_trust, trust_key_name
from registry.protocol.trust_note import TrustNote, encode_trust_note, trust_digest
from tests.clock import NOON_OF_JUNE_15
from tests.protocol.note_signers import MadeNoteSigner, ed25519_signer
from tests.simulated_log import ROOT
from tests.simulator import Simulator

DAY = 86_400
NOW = int(NOON_OF_JUNE_15)


def signed(trust: TrustMaterial, *roots: MadeNoteSigner, previous: bytes | None = None) -> SignedTrust:
    """The material as a registry would show it, by these roots (by the usual one)."""
    roots = roots or (ROOT,)
    trust = replace(trust, trust_vkey=roots[-1].key.vkey)
    content = encode_trust(trust)
    note = TrustNote(trust.log_origin, trust.sequence, trust_digest(content), NOW, NOW + 30 * DAY, previous)
    return open_signed_trust(content, encode_trust_note(note, *roots))


@pytest.fixture
def pinned() -> SignedTrust:
    """Two keys, in production; number 1."""
    registry = Simulator(lambda: NOON_OF_JUNE_15)
    registry.trusted.append(registry.new_key("2"))
    return open_signed_trust(registry.trust(), registry.trust_note())


@pytest.fixture
def following(pinned: SignedTrust) -> Callable[..., SignedTrust]:
    """Function from changes to number 2 with them."""

    def make(*roots: MadeNoteSigner, **changes: object) -> SignedTrust:
        trust = replace(pinned.trust, **{"sequence": 2, **changes})  # type: ignore[arg-type]
        return signed(trust, *roots, previous=pinned.note.digest)

    return make


Following = Callable[..., SignedTrust]


def test_the_same_again_changes_nothing(pinned: SignedTrust) -> None:
    assert check_next_trust(pinned, pinned, region="XA") == KeyChange((), ())


def test_keys_come_and_go_as_the_root_says(pinned: SignedTrust, following: Following) -> None:
    first, second = pinned.trust.export_signing_keys
    new = replace(first, key_version="3")
    offered = following(export_signing_keys=(second, new))
    assert check_next_trust(pinned, offered, region="XA") == KeyChange(("XA_export-3",), ("XA_export-1",))
    none_stays = following(export_signing_keys=(new,))
    assert check_next_trust(pinned, none_stays, region="XA").removed == ("XA_export-1", "XA_export-2")


def test_material_that_another_root_signed_is_refused(pinned: SignedTrust, following: Following) -> None:
    """Also if it keeps every key: names and keys are public, and prove nothing."""
    impostor = ed25519_signer(ROOT.name)
    with pytest.raises(TrustRefused, match="not signed by the root key that this phone has pinned"):
        check_next_trust(pinned, following(impostor), region="XA")


def test_a_new_root_is_taken_if_the_old_one_signs_beside_it(
    pinned: SignedTrust, following: Following
) -> None:
    new = ed25519_signer(ROOT.name)
    offered = following(ROOT, new)
    assert offered.trust.trust_vkey == new.key.vkey
    check_next_trust(pinned, offered, region="XA")


def test_the_new_root_must_sign_too(pinned: SignedTrust, following: Following) -> None:
    """Else the old one could name a key that nobody holds, or that is somebody else's."""
    new = ed25519_signer(ROOT.name)
    content = encode_trust(replace(pinned.trust, sequence=2, trust_vkey=new.key.vkey))
    note = replace(pinned.note, sequence=2, digest=trust_digest(content), previous=pinned.note.digest)
    with pytest.raises(UntrustedKey):
        open_signed_trust(content, encode_trust_note(note, ROOT))


def test_a_note_about_other_material_is_refused(pinned: SignedTrust, following: Following) -> None:
    with pytest.raises(TrustRefused, match="about another one"):
        open_signed_trust(pinned.content, following().note_content)
    other_number = encode_trust(replace(pinned.trust, sequence=7))
    note = replace(pinned.note, digest=trust_digest(other_number))
    with pytest.raises(TrustRefused, match="about another one"):
        open_signed_trust(other_number, encode_trust_note(note, ROOT))


def test_a_signature_that_does_not_hold_condemns_the_note(pinned: SignedTrust) -> None:
    forged = pinned.note_content.replace(b"expires_at 1", b"expires_at 2")
    with pytest.raises(BadSignature):
        open_signed_trust(pinned.content, forged)


def test_trust_material_does_not_go_back(pinned: SignedTrust, following: Following) -> None:
    with pytest.raises(TrustRefused, match="older"):
        check_next_trust(following(), pinned, region="XA")


def test_two_materials_of_one_number_are_a_split_view(following: Following) -> None:
    with pytest.raises(TrustRefused, match="two different trust materials as number 2"):
        check_next_trust(following(), following(publication={"floor": 9}), region="XA")


def test_the_next_number_names_the_pinned_one(pinned: SignedTrust) -> None:
    following = replace(pinned.trust, sequence=2)
    with pytest.raises(TrustRefused, match="does not follow number 1"):
        check_next_trust(pinned, signed(following, previous=bytes(32)), region="XA")
    # What was missed in between cannot be followed step by step.
    check_next_trust(pinned, signed(replace(following, sequence=3), previous=bytes(32)), region="XA")


def test_a_registry_for_real_people_never_becomes_a_demonstration(
    pinned: SignedTrust, following: Following
) -> None:
    with pytest.raises(TrustRefused, match="from production to demo"):
        check_next_trust(pinned, following(profile="demo"), region="XA")


def test_a_region_does_not_vanish(pinned: SignedTrust, following: Following) -> None:
    with pytest.raises(TrustRefused, match="no region"):
        check_next_trust(pinned, following(regions=("XB",)), region="XA")


def test_without_any_key_nothing_can_be_believed(pinned: SignedTrust, following: Following) -> None:
    with pytest.raises(TrustRefused, match="no export signing key"):
        check_next_trust(pinned, following(export_signing_keys=()), region="XA")


def test_another_log_is_another_registry(pinned: SignedTrust) -> None:
    other = Simulator(lambda: NOON_OF_JUNE_15)
    other.log.origin = "elsewhere.example/keys"
    other.log.roots = [ed25519_signer(trust_key_name(other.log.origin))]
    offered = open_signed_trust(other.trust(), other.trust_note())
    assert decode_trust(other.trust()).log_origin == "elsewhere.example/keys"
    with pytest.raises(TrustRefused, match="use another --store"):
        check_next_trust(pinned, offered, region="XA")


def test_a_note_warns_for_a_week_after_its_end_and_then_it_is_over(pinned: SignedTrust) -> None:
    end = pinned.note.expires_at
    assert check_in_time(pinned.note, now=end - 1) is None
    assert isinstance(check_in_time(pinned.note, now=end), TrustExpired)
    assert isinstance(check_in_time(pinned.note, now=end + NOTE_GRACE_SECONDS - 1), TrustExpired)
    with pytest.raises(TrustExpired):
        check_in_time(pinned.note, now=end + NOTE_GRACE_SECONDS)
