"""A registry in memory that phones can talk to: real signed files, a real log, and faults on demand.

Written from the contract and the formats, not from the registry's own faces, so that the SDK is tested
against what it may expect and not against what happens to be there. Time is the test's.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from io import BytesIO
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry.client import Answer
from registry.client.failures import NoAnswer, TooLarge
from registry.protocol.compact_file import CompactHeader, write_compact, write_signatures
from registry.protocol.encoding import decode_base64, encode_base64
from registry.protocol.export_file import (
    ExportFile,
    SignatureInfo,
    encode_export,
    encode_signatures,
    pack,
)
from registry.protocol.index import (
    EXPOSURES,
    GAEN_ZIP,
    TRUST_NOTE_PATH,
    TRUST_PATH,
    Index,
    IndexDay,
    IndexFile,
    IndexWindow,
    encode_index,
    export_name,
    index_digest_path,
    index_path,
    index_proof_path,
)
from registry.protocol.key_rows import key_rows
from registry.protocol.keys import REPORT_TYPES, TemporaryExposureKey, canonical_order
from registry.protocol.mac import MacSegment, mac_matches
from registry.protocol.trust import Profile, TrustedKey, TrustMaterial
from tests.simulated_log import SimulatedLog

BASE_URL = "https://keys.example"
REGION = "XA"
WINDOW_SECONDS = 3600
YEAR = 365 * 86_400


@dataclass(frozen=True)
class SigningKey:
    """An export signing key, both halves."""

    name: tuple[str, str]
    private_key: EllipticCurvePrivateKey
    not_before: int
    not_after: int

    @property
    def public_key_pem(self) -> str:
        public = self.private_key.public_key()
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def sign(self, message: bytes) -> bytes:
        return self.private_key.sign(message, ECDSA(SHA256()))


@dataclass(frozen=True)
class Request:
    """What a phone sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


def answer_json(status: int, members: Mapping[str, object], **headers: str) -> Answer:
    """A JSON answer; header names with `_` for `-`."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, names, json.dumps(members).encode())


@dataclass
class Simulator:
    """Both a registry and the `Transport` that reaches it.

    `formats` are those of every file from now on. `faults` maps a path to an answer (sent instead) or an
    exception (raised instead of acting); `lost_replies` holds paths whose next answer is lost after the
    registry has acted.
    """

    clock: Callable[[], float]
    profile: Profile = "production"
    base_url: str = BASE_URL
    requests: list[Request] = field(default_factory=list)
    faults: dict[str, Answer | Exception] = field(default_factory=dict)
    lost_replies: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    windows: list[IndexWindow] = field(default_factory=list)
    days: list[IndexDay] = field(default_factory=list)
    formats: tuple[str, ...] = (GAEN_ZIP,)
    codes: dict[str, str] = field(default_factory=dict)
    uploaded: list[TemporaryExposureKey] = field(default_factory=list)
    acts: list[str] = field(default_factory=list)
    index_override: bytes | None = None
    proof_override: bytes | None = None
    health_authority_id: str = "authority"

    def __post_init__(self) -> None:
        self.signers = [self.new_key("1")]
        self.trusted = list(self.signers)
        self.log = SimulatedLog(self.clock, REGION)
        self.publication: dict[str, int] = {}
        self._held: dict[int, tuple[Sequence[TemporaryExposureKey], Sequence[TemporaryExposureKey]]] = {}
        self._answers: dict[tuple[str, bytes], Answer] = {}
        self._tokens: dict[str, str] = {}
        self._certificates: dict[str, tuple[str, bytes]] = {}

    # The operator's side

    def new_key(self, version: str) -> SigningKey:
        now = int(self.clock())
        return SigningKey(("XA_export", version), generate_private_key(SECP256R1()), now - YEAR, now + YEAR)

    def publish(
        self,
        keys: Sequence[TemporaryExposureKey] = (),
        revised_keys: Sequence[TemporaryExposureKey] = (),
        *,
        bend: Callable[[ExportFile], ExportFile] = lambda export: export,
        bend_compact: Callable[[CompactHeader], CompactHeader] = lambda header: header,
        content: bytes | None = None,
    ) -> str:
        """Publish a window with a file of each format; returns the last one's name below /exposures/.

        `bend` and `bend_compact` change what a file says before it is signed; `content` is served and
        announced in its place.
        """
        start, end, sequence = self._next_window()
        window = IndexWindow(sequence, sequence, start, end)
        files = tuple(self._files(window, keys, revised_keys, bend, bend_compact, content))
        self.windows.append(IndexWindow(sequence, sequence, start, end, files))
        self._held[sequence] = keys, revised_keys
        return files[-1].path

    def close_day(self) -> IndexDay:
        """Roll up all windows since the last day that was closed."""
        first = self.days[-1].last_sequence + 1 if self.days else 1
        windows = [window for window in self.windows if window.sequence >= first]
        held = [self._held.get(window.sequence, ((), ())) for window in windows]
        day = IndexDay(first, windows[-1].last_sequence, windows[0].start, windows[-1].end, ())
        keys, revised_keys = ([key for part in held for key in part[place]] for place in (0, 1))
        files = tuple(self._files(day, keys, revised_keys))
        self.days.append(replace(day, files=files))
        return self.days[-1]

    def _files(
        self,
        span: IndexWindow | IndexDay,
        keys: Sequence[TemporaryExposureKey],
        revised_keys: Sequence[TemporaryExposureKey],
        bend: Callable[[ExportFile], ExportFile] = lambda export: export,
        bend_compact: Callable[[CompactHeader], CompactHeader] = lambda header: header,
        content: bytes | None = None,
    ) -> Iterator[IndexFile]:
        ordered, revised = canonical_order(keys), canonical_order(revised_keys)
        infos = tuple(SignatureInfo(*signer.name) for signer in self.signers)
        for form in self.formats:
            if form == GAEN_ZIP:
                export = bend(ExportFile(span.start, span.end, REGION, tuple(ordered), tuple(revised), infos))
                export_bin = encode_export(export)
                made = pack(export_bin, encode_signatures(self._signed(export_bin)))
            else:
                counts = len(ordered), len(revised)
                header = CompactHeader(
                    REGION, span.start, span.end, span.sequence, span.last_sequence, *counts
                )
                file = BytesIO()
                rows = key_rows(ordered), key_rows(revised)
                statement = write_compact(file, bend_compact(header), [rows[0]], [rows[1]])
                write_signatures(file, self._signed(statement))
                made = file.getvalue()
            made = made if content is None else content
            daily = isinstance(span, IndexDay)
            name = export_name(REGION, span.start, span.end, 1, form=form, daily=daily)
            self.files[f"{EXPOSURES}/{name}"] = made
            yield IndexFile(name, sha256(made).hexdigest(), len(made), form)

    def _signed(self, message: bytes) -> list[tuple[SignatureInfo, bytes]]:
        return [(SignatureInfo(*signer.name), signer.sign(message)) for signer in self.signers]

    def publish_nothing(self) -> None:
        """A window without keys."""
        start, end, sequence = self._next_window()
        self.windows.append(IndexWindow(sequence, sequence, start, end))

    def _next_window(self) -> tuple[int, int, int]:
        now = int(self.clock()) // WINDOW_SECONDS * WINDOW_SECONDS
        if not self.windows:
            return now - WINDOW_SECONDS, now, 1
        # After a pause the next window spans all of it, as a registry's does.
        last = self.windows[-1]
        return last.end, max(last.end + WINDOW_SECONDS, now), last.last_sequence + 1

    def index(self, **changes: Any) -> bytes:
        """The native index as it stands."""
        now = int(self.clock())
        members: dict[str, Any] = {
            "region": REGION,
            "sequence": self.windows[-1].last_sequence if self.windows else 0,
            # Whole windows, so that the same windows are the same bytes for an hour.
            "issued_at": now // WINDOW_SECONDS * WINDOW_SECONDS,
            "next_window_end": now // WINDOW_SECONDS * WINDOW_SECONDS + WINDOW_SECONDS,
            "expires_at": now // WINDOW_SECONDS * WINDOW_SECONDS + 2 * 86_400,
            "windows": tuple(self.windows),
            "days": tuple(self.days),
        }
        return encode_index(Index(**{**members, **changes}))

    def trust(self) -> bytes:
        """The trust material as it stands."""
        keys = tuple(
            TrustedKey(*key.name, key.public_key_pem, key.not_before, key.not_after) for key in self.trusted
        )
        policy = {"window_seconds": WINDOW_SECONDS, "floor": 1, "embargo_seconds": 7200, "retention_days": 21}
        return self.log.material(
            TrustMaterial(
                self.profile, (REGION,), keys, {**policy, **self.publication}, "", "", (), "", 1, issued_at=0
            )
        )

    def trust_note(self, **changes: object) -> bytes:
        """The note on it."""
        self.trust()
        return self.log.trust_note(**changes)

    def newest_index(self) -> bytes:
        """The index that is shown, once the log has followed it."""
        content = self.index_override or self.index()
        self.log.follow(content, self.windows)
        self.files[index_digest_path(REGION, sha256(content).hexdigest())] = content
        return content

    def proof(self) -> bytes:
        """The proof that is shown."""
        self.newest_index()
        return self.proof_override or self.log.proof()

    def fetched(self, suffix: str) -> list[Request]:
        """Every request whose path ends so."""
        return [request for request in self.requests if request.path.endswith(suffix)]

    # The transport

    def get(self, url: str, headers: Mapping[str, str], max_bytes: int) -> Answer:
        return self._serve("GET", url, headers, b"", max_bytes)

    def post(self, url: str, headers: Mapping[str, str], body: bytes, max_bytes: int) -> Answer:
        return self._serve("POST", url, headers, body, max_bytes)

    def _serve(self, method: str, url: str, headers: Mapping[str, str], body: bytes, most: int) -> Answer:
        path = url.removeprefix(self.base_url + "/")
        assert path != url, f"a phone went elsewhere: {url}"
        self.requests.append(Request(method, path, dict(headers), body))
        fault = self.faults.get(path)
        if isinstance(fault, Exception):
            raise fault
        answer = fault or (self._file(path, headers) if method == "GET" else self._api(path, headers, body))
        if path in self.lost_replies:
            self.lost_replies.remove(path)
            raise NoAnswer("the reply was lost")
        if len(answer.body) > most:
            raise TooLarge("more than was asked for")
        return answer

    def _file(self, path: str, headers: Mapping[str, str]) -> Answer:
        if path == TRUST_PATH:
            content: bytes | None = self.trust()
        elif path == TRUST_NOTE_PATH:
            content = self.trust_note()
        elif path == index_path(REGION):
            content = self.newest_index()
        elif path == index_proof_path(REGION):
            content = self.proof()
        else:
            content = self.files.get(path)
        if content is None:
            return Answer(404, {}, b"")
        tag = f'"{sha256(content).hexdigest()}"'
        if tag in headers.get("If-None-Match", ""):
            return Answer(304, {"etag": tag}, b"")
        return Answer(200, {"etag": tag}, content)

    # The device face, as the contract has it

    def _api(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if not path.startswith("v1/") and headers.get("X-API-Key") != "device-key":
            return answer_json(401, {"error": "unauthorized", "errorCode": ""})
        request = json.loads(body)
        # Equal requests get equal answers for a day; a publish is compared without its padding.
        compared = body if path == "api/verify" else json.dumps({**request, "padding": ""}).encode()
        if path == "v1/withdraw":
            return self._withdraw(request)
        if (path, compared) not in self._answers:
            act = {"api/verify": self._verify, "api/certificate": self._certify, "v1/publish": self._collect}
            answer = act[path](request)
            if answer.status != 200:
                return answer
            self._answers[path, compared] = answer
            self.acts.append(path)
        return self._answers[path, compared]

    def _verify(self, request: Mapping[str, Any]) -> Answer:
        test_type = self.codes.pop(request["code"], None)
        if test_type is None:
            return answer_json(400, {"error": "no such code\x1b[31m", "errorCode": "code_invalid"})
        token = f"token-{len(self._tokens)}"
        self._tokens[token] = test_type
        return answer_json(
            200, {"testtype": test_type, "symptomDate": "2026-06-10", "token": token, "padding": "AAAA"}
        )

    def _certify(self, request: Mapping[str, Any]) -> Answer:
        test_type = self._tokens.pop(request["token"], None)
        if test_type is None:
            return answer_json(400, {"error": "used", "errorCode": "token_expired"})
        certificate = f"certificate-{len(self._certificates)}"
        self._certificates[certificate] = (test_type, decode_base64(request["ekeyhmac"]))
        return answer_json(200, {"certificate": certificate, "padding": "AAAA"})

    def _collect(self, request: Mapping[str, Any]) -> Answer:
        if request["healthAuthorityID"] != self.health_authority_id:
            return answer_json(401, {"error": "unknown", "code": "unknown_health_authority_id"})
        test_type, mac = self._certificates[request["verificationPayload"]]
        segments = [
            MacSegment(key["key"], key["rollingStartNumber"], key["rollingPeriod"], key["transmissionRisk"])
            for key in request["temporaryExposureKeys"]
        ]
        if not mac_matches(decode_base64(request["hmacKey"]), segments, mac):
            code = "health_authority_verification_certificate_invalid"
            return answer_json(401, {"error": "hmac mismatch", "code": code})
        self.uploaded += [
            TemporaryExposureKey(
                decode_base64(segment.key_text),
                segment.rolling_start_interval_number,
                segment.rolling_period,
                segment.transmission_risk,
                REPORT_TYPES[test_type],
            )
            for segment in segments
        ]
        return answer_json(200, {"revisionToken": self._revision_token(), "insertedExposures": len(segments)})

    def _withdraw(self, request: Mapping[str, Any]) -> Answer:
        if request.get("revisionToken") != self._revision_token():
            return answer_json(400, {"error": "not ours", "code": "invalid_revision_token"})
        self.acts.append("v1/withdraw")
        return answer_json(200, {"padding": "AAAA"})

    def _revision_token(self) -> str:
        return encode_base64(sha256(repr(self.uploaded).encode()).digest())
