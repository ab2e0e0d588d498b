"""The file in which an operator describes SMS gateways, in TOML: docs/sms.md shows one.

It lies outside of the database, because it names secrets; those lie in files of their own, and are read once.
Whatever is not understood is refused at the start, so that no gateway falls silent by a slip of the pen.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from registry.delivery.http_gateway import EVERYWHERE, PLACEHOLDERS, HttpGateway, placeholders_of
from registry.errors import ConfigurationError

LONGEST_TIMEOUT_SECONDS = 20
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

_MEMBERS = frozenset(
    {"name", "url", "method", "encoding", "timeout_seconds", "countries", "senders", "headers"}
    | {"secret_files", "body", "accepted", "rejected", "told"}
)
_PLACE = re.compile(r"[A-Z]{2}|\+[1-9][0-9]{0,2}|\*")
_SECRET = re.compile(r"\{secret:([a-z0-9_]+)\}")


def read_gateways(text: str, read_secret: Callable[[Path], bytes]) -> list[HttpGateway]:
    """The gateways of the file, in its order. `read_secret` reads what only its owner may read.

    Raises ConfigurationError, which says which gateway's what is wrong, and never quotes a secret.
    """
    try:
        described = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"the file of SMS gateways is no TOML: {error}") from error
    found = described.get("gateway")
    if not isinstance(found, list) or not found or set(described) != {"gateway"}:
        raise ConfigurationError("the file of SMS gateways holds [[gateway]] tables, one or more, alone")
    gateways = [_read(number, members, read_secret) for number, members in enumerate(found, 1)]
    names = [gateway.name for gateway in gateways]
    if len(set(names)) < len(names):
        raise ConfigurationError("two SMS gateways have one name")
    return gateways


def _read(number: int, members: Any, read_secret: Callable[[Path], bytes]) -> HttpGateway:
    name = members.get("name") if isinstance(members, Mapping) else None
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9-]{1,32}", name):
        raise ConfigurationError(f"SMS gateway {number}: its name takes 1 to 32 of a-z, 0-9 and -")
    try:
        return _gateway(name, members, read_secret)
    except (ValueError, TypeError, AttributeError) as error:
        # Of ours, or of a member of another kind: neither quotes what a secret's file holds.
        raise ConfigurationError(f"SMS gateway {name}: {error}") from error


def _gateway(name: str, members: Mapping[str, Any], read_secret: Callable[[Path], bytes]) -> HttpGateway:
    unknown = sorted(set(members) - _MEMBERS)
    if unknown:
        raise ValueError(f"unknown {', '.join(unknown)}; there are {', '.join(sorted(_MEMBERS))}")
    encoding = _one_of("encoding", members.get("encoding", "json"), ("json", "form"))
    secrets = {
        secret: read_secret(Path(path)).decode("ascii").strip()
        for secret, path in members.get("secret_files", {}).items()
    }
    told = members.get("told", {})
    timeout = members.get("timeout_seconds", 10)
    if type(timeout) is not int or not 1 <= timeout <= LONGEST_TIMEOUT_SECONDS:
        raise ValueError(f"timeout_seconds is a whole number from 1 to {LONGEST_TIMEOUT_SECONDS}")
    return HttpGateway(
        name=name,
        url=_checked_url(members.get("url")),
        countries=_places("countries", members.get("countries", [])),
        senders=_checked_senders(members.get("senders", {})),
        headers=_checked_headers(_with_secrets(members.get("headers", {}), secrets)),
        body=_checked_body(_with_secrets(members.get("body"), secrets), encoding),
        encoding="form" if encoding == "form" else "json",
        method="PUT"
        if _one_of("method", members.get("method", "POST"), ("POST", "PUT")) == "PUT"
        else "POST",
        timeout_seconds=timeout,
        accepted=_statuses("accepted", members.get("accepted", [200, 201, 202])),
        rejected=_statuses("rejected", members.get("rejected", [400, 422])),
        told_in=_words("told.in", told.get("in", [])),
        told_accepted=frozenset(_words("told.accepted", told.get("accepted", []))),
        told_rejected=frozenset(_words("told.rejected", told.get("rejected", []))),
    )


def _checked_url(url: Any) -> str:
    if not isinstance(url, str):
        raise TypeError("url is missing")
    parts = urlsplit(url)
    if not (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)):
        raise ValueError("url must begin with https://; http:// is for this machine alone")
    if not parts.hostname or parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(
            "url is a host and a path: secrets go into headers or the body, the rest into the body"
        )
    if "{" in url:
        raise ValueError("url takes no placeholder: a number must stand in no address")
    return url


def _places(what: str, places: Any) -> frozenset[str]:
    found = list(places)
    if not found or not all(isinstance(place, str) and _PLACE.fullmatch(place) for place in found):
        raise ValueError(
            f'{what} names countries (CN), calling codes (+86) or everything else ("{EVERYWHERE}")'
        )
    return frozenset(found)


def _checked_senders(senders: Any) -> Mapping[str, str]:
    if senders and _places("senders", senders):
        return {place: str(sender) for place, sender in senders.items()}
    return {}


def _checked_headers(headers: Any) -> Mapping[str, str]:
    for name, value in headers.items():
        if not isinstance(value, str) or not (name + value).isascii() or not (name + value).isprintable():
            raise ValueError(f"the header {name} is not in printable ASCII")
    return dict(headers)


def _checked_body(body: Any, encoding: str) -> Mapping[str, Any]:
    if not isinstance(body, Mapping):
        raise TypeError("body is missing: a table of what the gateway is sent")
    named = placeholders_of(body)
    if named - PLACEHOLDERS:
        raise ValueError(f"body has an unknown placeholder; there are {', '.join(sorted(PLACEHOLDERS))}")
    if not named >= {"to", "text"}:
        raise ValueError("body must hold {to} and {text}")
    if encoding == "form" and not all(isinstance(value, str) for value in body.values()):
        raise ValueError("the members of a form are strings")
    return body


def _with_secrets(part: Any, secrets: Mapping[str, str]) -> Any:
    """The same with {secret:name} replaced. Raises ValueError for one without a file."""
    if isinstance(part, str):
        for name in _SECRET.findall(part):
            if name not in secrets:
                raise ValueError(f"secret_files has no {name}")
        return _SECRET.sub(lambda found: secrets[found[1]], part)
    if isinstance(part, Mapping):
        return {name: _with_secrets(value, secrets) for name, value in part.items()}
    if isinstance(part, list):
        return [_with_secrets(value, secrets) for value in part]
    return part


def _statuses(what: str, statuses: Any) -> frozenset[int]:
    if not isinstance(statuses, list) or not all(type(s) is int and 100 <= s <= 599 for s in statuses):
        raise ValueError(f"{what} is a list of HTTP statuses")
    return frozenset(statuses)


def _words(what: str, words: Any) -> list[str]:
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"{what} is a list of strings")
    return words


def _one_of(what: str, word: Any, words: tuple[str, ...]) -> str:
    if word not in words:
        raise ValueError(f"{what} is one of {', '.join(words)}")
    return str(word)
