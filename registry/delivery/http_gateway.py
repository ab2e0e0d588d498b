"""A gateway that is asked by HTTP, as its maker wants to be asked: described in a file, not in code.

Values are put into the members of a body and encoded as a whole, JSON or a form; none is ever a part of an
address. No exception of the HTTP library leaves this module: it may hold an address, a body or an answer.
"""

import json
import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode

import requests

from registry.delivery.phone_number import PhoneNumber
from registry.delivery.sms import Answer, Sms

log = logging.getLogger("registry.delivery")

EVERYWHERE = "*"
PLACEHOLDERS = frozenset({"to", "text", "sender"})

_LARGEST_ANSWER = 65_536
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_NOT_SENT = frozenset({401, 402, 403, 404, 405, 429, 503})
"""Statuses by which a server says that it did not do what it was asked, whatever it was."""


@dataclass(frozen=True)
class HttpGateway:
    """One gateway. Is an `SmsGateway`."""

    name: str
    url: str
    countries: frozenset[str]
    """ISO 3166-1 codes (`CN`), calling codes (`+86`), or `*`."""
    senders: Mapping[str, str]
    """By the same; who the SMS is said to come from."""
    headers: Mapping[str, str] = field(repr=False)
    """With the secrets in their places."""
    body: Mapping[str, Any] = field(repr=False)
    """Strings in it may hold {to}, {text} and {sender}; in a form all values are strings."""
    encoding: Literal["json", "form"]
    method: Literal["POST", "PUT"]
    timeout_seconds: float
    accepted: frozenset[int]
    rejected: frozenset[int]
    """Statuses that mean that the number or the text is refused."""
    told_in: Sequence[str] = ()
    """Path of the JSON answer's member that says more, for gateways that answer 200 to everything."""
    told_accepted: frozenset[str] = frozenset()
    told_rejected: frozenset[str] = frozenset()

    def serves(self, number: PhoneNumber) -> bool:
        """Whether it sends to the number's country."""
        return not self.countries.isdisjoint({EVERYWHERE, number.country, number.calling_code})

    def send(self, sms: Sms) -> Answer:
        """Ask it once. What it answers is read to the end or to 64 kB, and forgotten."""
        try:
            with requests.Session() as session:
                # No proxy and no .netrc of the environment's: who hears of a number is in the file alone.
                session.trust_env = False
                answer = self._answer(*self._ask(session, sms))
        except requests.ConnectTimeout:
            answer = Answer.FAILED
        except requests.ConnectionError as error:
            answer = Answer.FAILED if _never_connected(error) else Answer.UNCLEAR
        except requests.RequestException:
            answer = Answer.UNCLEAR
        if answer is not Answer.ACCEPTED:
            # Neither when nor to whom, nor what it said: that may quote the number.
            log.warning("the SMS gateway %s: %s", self.name, answer.value)
        return answer

    def _ask(self, session: requests.Session, sms: Sms) -> tuple[int, bytes | None]:
        """Status and body; None for a body that came too slowly or was too long."""
        ends = time.monotonic() + self.timeout_seconds
        with session.request(
            self.method,
            self.url,
            data=self._encoded(sms),
            headers={**self.headers, "Content-Type": self._content_type()},
            timeout=self.timeout_seconds,
            allow_redirects=False,
            stream=True,
        ) as response:
            content = bytearray()
            for chunk in response.iter_content(4096):
                content += chunk
                if len(content) > _LARGEST_ANSWER or time.monotonic() > ends:
                    return response.status_code, None
            return response.status_code, bytes(content)

    def _content_type(self) -> str:
        return "application/json" if self.encoding == "json" else "application/x-www-form-urlencoded"

    def _encoded(self, sms: Sms) -> bytes:
        values = {"to": sms.to.e164, "text": sms.text, "sender": self._sender(sms.to)}
        filled = _filled(self.body, values)
        if self.encoding == "json":
            return json.dumps(filled).encode()
        return urlencode(filled).encode()

    def _sender(self, number: PhoneNumber) -> str:
        for place in (number.country, number.calling_code, EVERYWHERE):
            if place in self.senders:
                return self.senders[place]
        return ""

    def _answer(self, status: int, content: bytes | None) -> Answer:
        if status in self.rejected:
            return Answer.REFUSED
        if status in self.accepted:
            return self._told(content)
        return Answer.FAILED if status in _NOT_SENT else Answer.UNCLEAR

    def _told(self, content: bytes | None) -> Answer:
        if not self.told_in:
            return Answer.ACCEPTED
        if content is None:
            return Answer.UNCLEAR
        try:
            told = json.loads(content)
            for name in self.told_in:
                told = told[name]
        except (ValueError, LookupError, TypeError):
            return Answer.UNCLEAR
        word = told if isinstance(told, str) else json.dumps(told)
        if word in self.told_accepted:
            return Answer.ACCEPTED
        # A word that nobody listed, to a request that was well received: it says that it did not send it.
        return Answer.REFUSED if word in self.told_rejected else Answer.FAILED


def placeholders_of(template: Any) -> set[str]:
    """All that stand in a body's strings, known or not."""
    if isinstance(template, str):
        return set(_PLACEHOLDER.findall(template))
    if isinstance(template, Mapping):
        return set[str]().union(*map(placeholders_of, template.values()))
    if isinstance(template, list):
        return set[str]().union(*map(placeholders_of, template))
    return set()


def _filled(template: Any, values: Mapping[str, str]) -> Any:
    """The same with each placeholder replaced once: what stands in a value is no placeholder."""
    if isinstance(template, str):
        return _PLACEHOLDER.sub(lambda found: values[found[1]], template)
    if isinstance(template, Mapping):
        return {name: _filled(part, values) for name, part in template.items()}
    if isinstance(template, list):
        return [_filled(part, values) for part in template]
    return template


def _never_connected(error: requests.ConnectionError) -> bool:
    """Whether it is certain that nothing was sent: no connection, no name, or no trust in the certificate."""
    cause = getattr(error.args[0] if error.args else None, "reason", None)
    return type(cause).__name__ in {"NewConnectionError", "NameResolutionError", "SSLError"}
