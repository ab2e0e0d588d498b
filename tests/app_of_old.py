"""An app written for existing servers, as an outsider would build it: stdlib HTTP bodies, nothing of ours.

Sends exactly the fields that Google's reference app sends, pads each request to 5,000 bytes or more and
reads only the fields that it reads. Whatever works for this class works for an unchanged app.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Call = Callable[[str, str, Mapping[str, str], bytes], tuple[int, Mapping[str, str], bytes]]
"""(method, path, headers, body) → (status, headers, body)."""


@dataclass
class Answer:
    """A status and the JSON object that came with it."""

    status: int
    body: dict[str, Any]
    size: int

    @property
    def code(self) -> str:
        """The error code, where such an app looks for it."""
        return str(self.body.get("errorCode") or self.body.get("code") or "")


@dataclass
class AppOfOld:
    """One phone's traffic with the registry."""

    call: Call
    device_api_key: str
    health_authority_id: str
    hmac_key: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    def post(self, path: str, body: dict[str, Any], api_key: str | None = None, pad: bool = True) -> Answer:
        """POST `body` as JSON with padding to 5,000 bytes."""
        if pad:
            room = max(16, 5000 - len(json.dumps(body)))
            body = body | {"padding": base64.b64encode(secrets.token_bytes(room)).decode()}
        return self.send(path, json.dumps(body).encode(), api_key)

    def send(self, path: str, content: bytes, api_key: str | None = None) -> Answer:
        """POST these very bytes."""
        headers = {"Content-Type": "application/json; charset=utf-8"}
        if api_key:
            headers["X-API-Key"] = api_key
        status, _, answer = self.call("POST", path, headers, content)
        return Answer(status, json.loads(answer), len(answer))

    def verify(self, code: str) -> Answer:
        """Code → token."""
        accept = ["confirmed", "likely", "negative", "user-report"]
        return self.post("/api/verify", {"code": code, "accept": accept}, self.device_api_key)

    def certify(self, token: str, keys: list[dict[str, Any]]) -> Answer:
        """Token and MAC → certificate."""
        mac = base64.b64encode(self.mac(keys)).decode()
        return self.post("/api/certificate", {"token": token, "ekeyhmac": mac}, self.device_api_key)

    def mac(self, keys: list[dict[str, Any]]) -> bytes:
        """HMAC-SHA256 over the four-part segments, sorted by the base64 text."""
        ordered = sorted(keys, key=lambda key: str(key["key"]))
        text = ",".join(
            f"{k['key']}.{k['rollingStartNumber']}.{k['rollingPeriod']}.{k['transmissionRisk']}"
            for k in ordered
        )
        return hmac.new(self.hmac_key, text.encode(), hashlib.sha256).digest()

    def publish_body(self, certificate: str, keys: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        """The upload's JSON object."""
        return {
            "temporaryExposureKeys": keys,
            "healthAuthorityID": self.health_authority_id,
            "verificationPayload": certificate,
            "hmacKey": base64.b64encode(self.hmac_key).decode(),
            "traveler": False,
            **more,
        }

    def upload(self, code: str, keys: list[dict[str, Any]], **more: Any) -> Answer:
        """All three steps in a row; the last one's answer. Fails the test if an earlier step fails."""
        verified = self.verify(code)
        assert verified.status == 200, verified.body
        certified = self.certify(verified.body["token"], keys)
        assert certified.status == 200, certified.body
        return self.post("/v1/publish", self.publish_body(certified.body["certificate"], keys, **more))


def fresh_keys(now: float, days: int = 14, *, today: bool = True, risk: int = 1) -> list[dict[str, Any]]:
    """`days` random daily keys, the newest today's (or yesterday's), each valid for a whole UTC day."""
    midnight = int(now) // 86_400 * 144
    newest = midnight if today else midnight - 144
    return [
        {
            "key": base64.b64encode(secrets.token_bytes(16)).decode(),
            "rollingStartNumber": newest - 144 * day,
            "rollingPeriod": 144,
            "transmissionRisk": risk,
        }
        for day in range(days)
    ]
