"""How the phone speaks HTTP: one narrow interface, and its implementation with requests.

Must never tell two phones apart: a constant User-Agent, no cookies, no credentials from the surroundings,
no redirects, no query parameters of its own. Whoever embeds the SDK may bring another transport.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Protocol
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from registry.client.failures import NoAnswer, Throttled, TooLarge, UnexpectedStatus

USER_AGENT = "exposure-registry-client"
TRY_SECONDS = 10.0
"""Connecting, and each wait for bytes, may take this long (the field's figure for one try)."""
WHOLE_ANSWER_SECONDS = 180.0
LONGEST_PAUSE_SECONDS = 24 * 3600.0
"""No answer can silence a phone for longer: a forged Retry-After must not switch warnings off."""
CHUNK_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: status, headers (names in lower case), body (content encoding undone)."""

    status: int
    headers: Mapping[str, str]
    body: bytes


RandomBytes = Callable[[int], bytes]
"""Unpredictable bytes, as many as asked for. Handed in, like the transport and the clock."""


class Transport(Protocol):
    """Sends one request and waits for its answer. Raises `NoAnswer`, or `TooLarge` beyond `max_bytes`."""

    def get(self, url: str, headers: Mapping[str, str], max_bytes: int) -> Answer: ...

    def post(self, url: str, headers: Mapping[str, str], body: bytes, max_bytes: int) -> Answer: ...


THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})
NO_PROXY = {"http": "", "https": ""}


class HttpTransport:
    """The transport that phones use. Not shared between threads."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._session = requests.Session()
        self._session.headers["User-Agent"] = USER_AGENT
        self._session.headers["Accept"] = "application/json, application/zip, */*;q=0.1"
        self._session.headers["Accept-Encoding"] = "gzip"
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # Without a callable here requests would look for a password in the user's .netrc.
        self._session.auth = _without_credentials

    def get(self, url: str, headers: Mapping[str, str], max_bytes: int) -> Answer:
        return self._send("GET", url, headers, None, max_bytes)

    def post(self, url: str, headers: Mapping[str, str], body: bytes, max_bytes: int) -> Answer:
        return self._send("POST", url, headers, body, max_bytes)

    def close(self) -> None:
        self._session.close()

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, max_bytes: int
    ) -> Answer:
        latest = self._monotonic() + WHOLE_ANSWER_SECONDS
        try:
            with self._session.request(
                method,
                url,
                headers=dict(headers),
                data=body,
                timeout=TRY_SECONDS,
                allow_redirects=False,
                stream=True,
                # A registry on this machine is not to be asked of a proxy.
                proxies=NO_PROXY if urlsplit(url).hostname in THIS_MACHINE else None,
            ) as response:
                content = bytearray()
                for chunk in response.iter_content(CHUNK_BYTES):
                    content += chunk
                    if len(content) > max_bytes:
                        raise TooLarge(f"{url} sends more than {max_bytes} bytes")
                    if self._monotonic() > latest:
                        raise NoAnswer(f"{url} sends too slowly; reading stopped")
                names = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status_code, names, bytes(content))
        except (requests.RequestException, HTTPError, ValueError) as error:
            # Beside its own errors the library lets through those of urllib3 and, for addresses that are
            # none, ValueErrors: strangers name addresses too. Its text repeats sockets and proxies.
            raise NoAnswer(f"no answer from {url}: {type(error).__name__}") from error


def _without_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def retry_time(answer: Answer, now: float) -> float | None:
    """When the answer asks to be tried again, in unix seconds; None if it does not say.

    Reads `Retry-After` (RFC 9110 §10.2.3: seconds or a date) and `X-Retry-After` (the same, as apps written
    for Google's servers expect), takes the later, and never more than a day from `now`.
    """
    times = [
        time
        for name in ("retry-after", "x-retry-after")
        if (time := _pause_end(answer.headers.get(name, ""), now)) is not None
    ]
    return min(max(times), now + LONGEST_PAUSE_SECONDS) if times else None


def _pause_end(text: str, now: float) -> float | None:
    if text.isascii() and text.isdigit():
        return now + min(int(text[:10]), LONGEST_PAUSE_SECONDS)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(now, moment.replace(tzinfo=moment.tzinfo or UTC).timestamp())


def unexpected(answer: Answer, what: str, now: float) -> UnexpectedStatus:
    """The error for an answer of another status than the one hoped for; `what` names what was asked."""
    retry_at = retry_time(answer, now)
    message = f"{what}: HTTP {answer.status}"
    if retry_at is not None or answer.status in (429, 503):
        return Throttled(message, status=answer.status, retry_at=retry_at)
    return UnexpectedStatus(message, status=answer.status)
