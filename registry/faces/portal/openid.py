"""The organisation's OpenID provider: where people are sent, what its answer proves (OpenID Connect Core).

Code flow with PKCE (RFC 7636). Of an answer counts the ID token alone, signed by a key that the provider
lists, for us, from it, fresh, for the very request that this browser made. Times are the caller's.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from registry.errors import ProofRefused, Unavailable
from registry.models.official import Permission

SKEW_SECONDS = 30
LONGEST_TOKEN_LIFE_SECONDS = 600
"""Of what was issued longer ago than this nothing is believed, whatever its end."""
KEYS_READ_EVERY_SECONDS = 3600
FAILURE_REMEMBERED_SECONDS = 10
"""For so long a provider that did not answer is not asked again."""
_TIMEOUT = (5, 10)
_ALGORITHMS = ["RS256", "ES256"]
_LARGEST_ANSWER = 200_000
_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class OpenIdPolicy:
    """Which provider, who we are to it, and what its people may do."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    scopes: str
    groups_claim: str
    groups: Mapping[str, frozenset[Permission]]
    """What a group gives. Whoever is in none of them does not come in."""
    acr: frozenset[str] = frozenset()
    """One of these must have been reached, where there are any."""
    amr: frozenset[str] = frozenset()
    """All of these must have been used."""

    @property
    def demands(self) -> bool:
        """Whether a sign-in there proves more than that somebody knows a password."""
        return bool(self.acr or self.amr)


@dataclass(frozen=True, slots=True)
class Request:
    """What one trip to the provider is known by; each 43 URL-safe characters."""

    state: str
    nonce: str
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Person:
    """Whom the provider vouches for."""

    subject: str
    name: str
    permissions: frozenset[Permission]
    is_fresh: bool
    """Whether they proved themselves a moment ago, in a way that the policy demands."""


class OpenIdProvider:
    """The provider, as it describes itself. Its description and keys are read again every hour."""

    def __init__(self, policy: OpenIdPolicy) -> None:
        self.policy = policy
        self._lock = threading.Lock()
        self._read_at: float | None = None
        self._failed_at: float | None = None
        self._metadata: dict[str, Any] = {}
        self._keys: dict[str, Any] = {}

    def address(self, wanted: Request, back: str, now: float) -> str:
        """Where to send the browser. Raises Unavailable."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(wanted.verifier.encode()).digest()).rstrip(b"=")
        more = {"acr_values": " ".join(sorted(self.policy.acr))} if self.policy.acr else {}
        address, _state = self._client(back).create_authorization_url(
            self._described(now)["authorization_endpoint"],
            state=wanted.state,
            nonce=wanted.nonce,
            code_challenge=challenge.decode("ascii"),
            code_challenge_method="S256",
            # Whoever is signed in there since this morning is asked again: a tablet may have changed hands.
            prompt="login",
            max_age=0,
            **more,
        )
        return str(address)

    def person(self, wanted: Request, code: str, back: str, now: float) -> Person:
        """Whom the code stands for. Raises ProofRefused, and Unavailable if the provider does not answer."""
        metadata = self._described(now)
        try:
            token = self._client(back).fetch_token(
                metadata["token_endpoint"],
                grant_type="authorization_code",
                code=code,
                code_verifier=wanted.verifier,
                timeout=_TIMEOUT,
            )
            id_token = str(token["id_token"])
        except OAuthError as error:
            raise ProofRefused("the provider does not take the code") from error
        except (requests.RequestException, ValueError, KeyError, TypeError) as error:
            raise Unavailable("the OpenID provider does not answer") from error
        return self._judged(self._claims(id_token, now), wanted, now)

    def _claims(self, id_token: str, now: float) -> dict[str, Any]:
        for attempt in (False, True):
            keys = self._listed_keys(now, again=attempt)
            try:
                return dict(jwt.decode(id_token, keys, algorithms=_ALGORITHMS).claims)
            except (JoseError, ValueError) as error:
                # A key that is not listed yet may have come since.
                if attempt:
                    raise ProofRefused(f"the ID token is not signed: {type(error).__name__}") from error
        raise AssertionError("unreachable")

    def _judged(self, claims: dict[str, Any], wanted: Request, now: float) -> Person:
        policy, whole = self.policy, int(now)
        registry = jwt.JWTClaimsRegistry(
            now=whole,
            leeway=SKEW_SECONDS,
            iss={"essential": True, "value": policy.issuer},
            aud={"essential": True, "value": policy.client_id},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": wanted.nonce},
        )
        try:
            registry.validate(claims)
        except JoseError as error:
            failed = f"{type(error).__name__} {getattr(error, 'claim', '')}".strip()
            raise ProofRefused(f"the ID token is not for this: {failed}") from error
        if whole - claims["iat"] > LONGEST_TOKEN_LIFE_SECONDS + SKEW_SECONDS:
            raise ProofRefused("the ID token is too old")
        audience = claims["aud"]
        if claims.get("azp", policy.client_id) != policy.client_id or (
            isinstance(audience, list) and len(audience) > 1 and "azp" not in claims
        ):
            raise ProofRefused("the ID token was made for somebody else")
        if policy.acr and not (isinstance(claims.get("acr"), str) and claims["acr"] in policy.acr):
            raise ProofRefused("the provider's assurance (acr) is not enough")
        if not policy.amr <= _texts(claims.get("amr")):
            raise ProofRefused("the provider's methods (amr) are not enough")
        held = _texts(claims.get(policy.groups_claim))
        gained = [may for group, may in policy.groups.items() if group in held]
        return Person(
            subject=str(claims["sub"])[:255],
            name=_name(claims),
            permissions=frozenset[Permission]().union(*gained),
            is_fresh=policy.demands and _is_recent(claims, whole),
        )

    def _client(self, back: str) -> OAuth2Session:
        return OAuth2Session(
            self.policy.client_id,
            self.policy.client_secret,
            scope=self.policy.scopes,
            redirect_uri=back,
            token_endpoint_auth_method="client_secret_basic",  # noqa: S106  # a method's name
        )

    def _described(self, now: float) -> dict[str, Any]:
        self._read(now, again=False)
        return self._metadata

    def _listed_keys(self, now: float, *, again: bool) -> KeySet:
        self._read(now, again=again)
        try:
            return KeySet.import_key_set(self._keys)  # type: ignore[arg-type]
        except (JoseError, ValueError, KeyError) as error:
            raise Unavailable("the OpenID provider lists no keys that can be read") from error

    def _read(self, now: float, *, again: bool) -> None:
        with self._lock:
            age = None if self._read_at is None else now - self._read_at
            if age is not None and 0 <= age < (1 if again else KEYS_READ_EVERY_SECONDS):
                return
            if self._failed_at is not None and 0 <= now - self._failed_at < FAILURE_REMEMBERED_SECONDS:
                if not self._metadata:
                    raise Unavailable("the OpenID provider did not answer a moment ago")
                return
            try:
                self._metadata, self._keys = self._fetch()
                self._read_at, self._failed_at = now, None
            except Unavailable:
                # What it said before goes on; callers do not queue up behind one who waits for it.
                self._failed_at = now
                if not self._metadata:
                    raise

    def _fetch(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the provider says of itself, and its keys. Raises Unavailable."""
        issuer = self.policy.issuer
        metadata = _get_json(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if metadata.get("issuer") != issuer:
            raise Unavailable("the OpenID provider says that it is another")
        missing = {"authorization_endpoint", "token_endpoint", "jwks_uri"} - metadata.keys()
        if missing:
            raise Unavailable(f"the OpenID provider does not say its {min(missing)}")
        return metadata, _get_json(metadata["jwks_uri"])


def _get_json(url: str) -> dict[str, Any]:
    try:
        with requests.get(url, timeout=_TIMEOUT, allow_redirects=False, stream=True) as answer:
            if answer.status_code != requests.codes.ok:
                raise Unavailable(f"the OpenID provider answers {answer.status_code}")
            content = b""
            for piece in answer.iter_content(_CHUNK):
                content += piece
                if len(content) > _LARGEST_ANSWER:
                    raise Unavailable("the OpenID provider says too much")
        found = json.loads(content)
    except (requests.RequestException, ValueError) as error:
        raise Unavailable("the OpenID provider does not answer") from error
    if not isinstance(found, dict):
        raise Unavailable("the OpenID provider's answer is no object")
    return found


def _texts(value: object) -> frozenset[str]:
    """A claim that is a list of strings, or one; empty for anything else."""
    if isinstance(value, str):
        return frozenset({value})
    return (
        frozenset(each for each in value if isinstance(each, str)) if isinstance(value, list) else frozenset()
    )


def _name(claims: Mapping[str, Any]) -> str:
    for claim in ("name", "preferred_username", "sub"):
        value = claims.get(claim)
        if isinstance(value, str) and value.strip() and value.isprintable():
            return value.strip()[:200]
    return "?"


def _is_recent(claims: Mapping[str, Any], now: int) -> bool:
    proved_at = claims.get("auth_time")
    return isinstance(proved_at, int) and now - proved_at <= 60 + SKEW_SECONDS
