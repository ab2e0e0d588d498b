"""The verification certificate: what its readers rely on, and each thing that makes one worthless."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import CertificateExpired, CertificateInvalid
from registry.protocol.certificate import (
    HEAD_START_SECONDS,
    MAX_LIFE_SECONDS,
    VerificationCertificate,
    check_certificate,
    encode_certificate,
    encode_jwt,
    read_certificate,
    read_jwt,
)
from registry.protocol.encoding import encode_base64
from registry.protocol.intervals import LAST_INTERVAL
from registry.protocol.keys import REPORT_TYPES
from tests.protocol.made_signer import MadeSigner

NOW = 1_781_524_800
SIGNER = MadeSigner("authority-1")
ABSENT = object()

CERTIFICATE = VerificationCertificate(
    issuer="xa.health",
    audience="registry",
    report_type="confirmed",
    tekmac=encode_base64(bytes(32)),
    symptom_onset_interval=2968272,
    issued_at=NOW - 5,
    not_before=NOW - 5,
    expires_at=NOW + 900,
)


def check(token: str, now: float = NOW, *, kid: str = "authority-1") -> VerificationCertificate:
    return check_certificate(
        token, public_keys={kid: SIGNER.public_key}, issuer="xa.health", audience="registry", now=now
    )


def with_claims(**changes: object) -> str:
    """The good certificate's claims with some changed or taken away, signed as usual."""
    _header, claims = read_jwt(encode_certificate(CERTIFICATE, SIGNER))
    return encode_jwt({n: v for n, v in (claims | changes).items() if v is not ABSENT}, SIGNER)


def test_the_claims_are_those_that_existing_key_servers_read() -> None:
    header, claims = read_jwt(encode_certificate(CERTIFICATE, SIGNER))
    assert header == {"alg": "ES256", "typ": "JWT", "kid": "authority-1"}
    assert claims == {
        "iss": "xa.health",
        "aud": "registry",
        "iat": NOW - 5,
        "nbf": NOW - 5,
        "exp": NOW + 900,
        "reportType": "confirmed",
        "symptomOnsetInterval": 2968272,
        "tekmac": encode_base64(bytes(32)),
    }


def test_evidence_for_the_receipt_is_read_as_it_was_written_and_left_out_where_there_is_none() -> None:
    full = replace(CERTIFICATE, attestation=b"a" * 32, consent_hash=b"h" * 32, consent_version="2026-11")
    token = encode_certificate(full, SIGNER)
    assert check(token) == read_certificate(token) == full
    claims = read_jwt(token)[1]
    assert claims["attestation"] == encode_base64(b"a" * 32)
    assert claims["consentHash"] == encode_base64(b"h" * 32)
    assert claims["consentVersion"] == "2026-11"


@pytest.mark.parametrize("claim", ["attestation", "consentHash", "consentVersion"])
@pytest.mark.parametrize("value", [None, 1, "", "AAAA", "?", {"a": 1}, [], "x" * 33, "two words"])
def test_evidence_in_another_form_is_none_and_refuses_nothing(claim: str, value: object) -> None:
    certificate = check(with_claims(**{claim: value}))
    if claim == "consentVersion" and value == "AAAA":
        assert certificate.consent_version == "AAAA"
    else:
        assert certificate == CERTIFICATE


@given(
    st.sampled_from(sorted(REPORT_TYPES)),
    st.binary(min_size=32, max_size=32),
    st.none() | st.integers(1, LAST_INTERVAL),
    st.integers(1, MAX_LIFE_SECONDS - 10),
)
def test_what_was_certified_is_what_is_read(
    report_type: str, mac: bytes, onset: int | None, life: int
) -> None:
    certificate = replace(
        CERTIFICATE,
        report_type=report_type,
        tekmac=encode_base64(mac),
        symptom_onset_interval=onset,
        expires_at=NOW + life,
    )
    token = encode_certificate(certificate, SIGNER)
    assert check(token) == certificate
    assert ("symptomOnsetInterval" in read_jwt(token)[1]) == (onset is not None)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"iss": "another.health"}, "another issuer"),
        ({"iss": "xa.health "}, "almost the issuer"),
        ({"iss": ABSENT}, "no issuer"),
        ({"aud": "another"}, "another audience"),
        ({"aud": ["registry"]}, "a list of audiences"),
        ({"aud": ABSENT}, "no audience"),
        ({"exp": ABSENT}, "no end"),
        ({"exp": None}, "no end"),
        ({"exp": str(NOW + 900)}, "an end in words"),
        ({"exp": [NOW + 900]}, "a list of ends"),
        ({"exp": True}, "true is no time"),
        ({"exp": 10**30}, "an absurd end"),
        ({"exp": float("1e300")}, "an absurd end with a fraction"),
        ({"exp": NOW - 5 + MAX_LIFE_SECONDS + 61}, "a life of 61 seconds over 24 hours"),
        ({"iat": ABSENT, "exp": NOW - 5 + MAX_LIFE_SECONDS + 61}, "as long since 'nbf'"),
        ({"iat": ABSENT, "nbf": ABSENT, "exp": NOW + MAX_LIFE_SECONDS + 61}, "as long from now"),
        ({"exp": NOW - 5}, "no life at all"),
        ({"exp": NOW - 6}, "an end before its beginning"),
        ({"iat": True}, "true is no beginning"),
        ({"iat": -0.5}, "a beginning before 1970"),
        ({"iat": ABSENT, "nbf": NOW + 0.5}, "not yet valid by half a second"),
        ({"iat": NOW + 1, "nbf": NOW}, "issued in the future"),
        ({"nbf": NOW + 1}, "not yet valid"),
        ({"nbf": "soon"}, "a beginning in words"),
        ({"iat": 0}, "a life of half a century"),
        ({"reportType": ABSENT}, "no report type"),
        ({"reportType": "positive"}, "an unknown report type"),
        ({"reportType": "CONFIRMED"}, "a report type in capitals"),
        ({"reportType": 1}, "a number for a report type"),
        ({"tekmac": ABSENT}, "names no keys"),
        ({"tekmac": ""}, "names no keys"),
        ({"tekmac": "!"}, "not base64"),
        ({"tekmac": encode_base64(bytes(31))}, "a MAC cut short"),
        ({"tekmac": encode_base64(bytes(33))}, "a MAC too long"),
        ({"symptomOnsetInterval": 2968272.5}, "onset between two intervals"),
        ({"symptomOnsetInterval": True}, "true is no interval"),
        ({"symptomOnsetInterval": "2968272"}, "onset in words"),
    ],
)
def test_worthless(changes: dict[str, object], why: str) -> None:
    check(with_claims())
    with pytest.raises(CertificateInvalid) as refusal:
        check(with_claims(**changes))
    assert not isinstance(refusal.value, CertificateExpired)


def test_it_lives_from_its_first_second_to_before_its_last() -> None:
    token = with_claims()
    check(token, NOW - 5)
    check(token, NOW + 899.9)
    with pytest.raises(CertificateExpired):
        check(token, NOW + 900)
    with pytest.raises(CertificateInvalid, match="not begun"):
        check(token, NOW - 5.1)


def test_it_may_live_24_hours_and_a_head_start_and_no_more() -> None:
    longest = MAX_LIFE_SECONDS + HEAD_START_SECONDS
    for begun in ({"iat": NOW, "nbf": NOW}, {"iat": ABSENT, "nbf": NOW}, {"iat": ABSENT, "nbf": ABSENT}):
        check(with_claims(**begun, exp=NOW + longest))
        with pytest.raises(CertificateInvalid, match="24 hours"):
            check(with_claims(**begun, exp=NOW + longest + 1))
    # 24 hours from now, begun a little before, as issuers write it.
    check(with_claims(iat=NOW - 30, nbf=NOW - 30, exp=NOW + MAX_LIFE_SECONDS))


@pytest.mark.parametrize("nothing", [ABSENT, None])
def test_it_need_not_say_when_it_was_issued(nothing: object) -> None:
    since = check(with_claims(iat=nothing))
    assert (since.issued_at, since.not_before) == (None, NOW - 5)
    timeless = with_claims(iat=nothing, nbf=nothing)
    assert check(timeless) == replace(CERTIFICATE, issued_at=None, not_before=None)
    with pytest.raises(CertificateExpired):
        check(timeless, NOW + 900)


def test_its_times_may_have_fractions() -> None:
    """NumericDate is any JSON number (RFC 7519 §2)."""
    token = with_claims(iat=NOW - 5.5, nbf=NOW - 4.5, exp=NOW + 899.5)
    check(token, NOW + 899.4)
    with pytest.raises(CertificateExpired):
        check(token, NOW + 899.5)
    with pytest.raises(CertificateInvalid, match="not begun"):
        check(token, NOW - 5)


@pytest.mark.parametrize("onset", [None, 0, -1, LAST_INTERVAL + 1, 10**30])
def test_an_onset_that_can_be_none_is_taken_as_not_stated(onset: object) -> None:
    assert check(with_claims(symptomOnsetInterval=onset)).symptom_onset_interval is None


def test_an_expired_certificate_of_a_wrong_issuer_is_invalid_not_expired() -> None:
    """Who is told 'expired' asks for a new one: only the right issuer's holder may be sent there."""
    with pytest.raises(CertificateInvalid) as refusal:
        check(with_claims(iss="another.health"), NOW + 10_000)
    assert not isinstance(refusal.value, CertificateExpired)


def test_without_nbf_it_begins_when_issued_and_an_onset_of_zero_is_none() -> None:
    """As issuers in the field write them."""
    certificate = check(with_claims(nbf=ABSENT, symptomOnsetInterval=0))
    assert certificate.not_before == certificate.issued_at
    assert certificate.symptom_onset_interval is None


def test_unknown_claims_are_passed_over() -> None:
    assert check(with_claims(trisk=[], testDateInterval=5)) == CERTIFICATE


def test_only_a_known_key_counts_and_only_its_own_signature() -> None:
    with pytest.raises(CertificateInvalid, match="'kid'"):
        check(with_claims(), kid="authority-2")
    with pytest.raises(CertificateInvalid, match="signature"):
        check(encode_certificate(CERTIFICATE, MadeSigner("authority-1")))


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "." * 100_000, "eyJhbGciOiJub25lIn0.e30."])
def test_what_is_no_token_at_all_is_an_invalid_certificate(token: str) -> None:
    with pytest.raises(CertificateInvalid):
        check(token)
