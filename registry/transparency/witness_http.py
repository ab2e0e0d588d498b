"""Sends requests to witnesses over HTTP. The one module beside the log that speaks to the outside.

A witness is a stranger: its answer is bounded in bytes and in time, no redirect is followed, and nothing
of this machine's (cookies, passwords) goes along.
"""

import time
from collections.abc import Callable
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from registry.errors import FetchFailed
from registry.transparency.witnesses import MAX_ANSWER_BYTES, WitnessAnswer

USER_AGENT = "positive-key-registry"
CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 5.0
"""Each wait for bytes may take this long."""
WHOLE_ANSWER_SECONDS = 10.0
CHUNK_BYTES = 16 * 1024
_THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})


def send_to_witness(
    url: str, body: bytes, *, monotonic: Callable[[], float] = time.monotonic
) -> WitnessAnswer:
    """POST `body` to `url`; a `SendToWitness`. May be called from several threads at once.

    Raises FetchFailed if there is no answer, or one that is too long or too slow.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise FetchFailed(f"{url} is no address: it must begin with https:// or http://")
    latest = monotonic() + WHOLE_ANSWER_SECONDS
    with requests.Session() as session:
        session.headers.update({"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"})
        # Without a callable here requests would look for a password in the user's .netrc.
        session.auth = _without_credentials
        # What runs on this machine is asked directly, whatever proxy is set.
        session.trust_env = urlsplit(url).hostname not in _THIS_MACHINE
        try:
            with session.post(
                url,
                data=body,
                headers={"Content-Type": "text/plain; charset=utf-8"},
                timeout=(CONNECT_SECONDS, SILENCE_SECONDS),
                allow_redirects=False,
                stream=True,
            ) as response:
                content = _read(response, latest, monotonic)
                return WitnessAnswer(response.status_code, response.headers.get("Content-Type", ""), content)
        except (requests.RequestException, HTTPError, OSError) as error:
            # The library's own text repeats addresses of sockets and proxies; its kind says enough.
            raise FetchFailed(f"no answer from {url}: {type(error).__name__}") from error


def _read(response: requests.Response, latest: float, monotonic: Callable[[], float]) -> bytes:
    """The body, as it comes: one byte at a time does not hold us longer than the limit."""
    content = bytearray()
    while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise FetchFailed(f"{response.url} sends more than {MAX_ANSWER_BYTES} bytes")
        if monotonic() > latest:
            raise FetchFailed(f"{response.url} sends too slowly; reading stopped")
    return bytes(content)


def _without_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
