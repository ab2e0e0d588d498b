"""Campaign on cover traffic: chaff, success and error of each phone endpoint, mixed, over HTTP, held as ever.

What somebody on the way could see of an answer (its bytes in all and in the first piece that came, and when
it came) is held against each other kind's by a two-sample test and by classifiers trained for it; what the
registry's machine keeps of each kind, in log and tables, is counted.
"""

import base64
import json
import random
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from sqlalchemy import create_engine, text

from tests.app_of_old import AppOfOld, fresh_keys
from tests.running import Running
from tests.soak.campaigns import Campaign, Found, Slice
from tests.soak.distinguishing import highest_by_chance, kolmogorov_smirnov, told_apart

OF_EACH_KIND = 2_000
AT_ONCE = 24
"""Calls under way: their work keeps two cores from being busy, so that the hold is what is measured."""
BODY_BYTES = 8_000
LEAST_PROBABILITY = 1e-4
"""Of nine pairs one falls below it by chance in a thousand campaigns."""
HIGHEST_AREA = 0.55
KINDS = ("chaff", "success", "error")


@dataclass(frozen=True)
class Wanted:
    """A call to be made."""

    kind: str
    path: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """What came of it. `seen` is what an observer of the encrypted connection could tell of the answer."""

    wanted: Wanted
    status: int
    answer: dict[str, Any]
    seen: tuple[float, ...]


class Calls:
    """Phones' calls to one registry."""

    def __init__(self, registry: Running, seed: int) -> None:
        self.port = registry.port
        self.keys = registry.first_run
        self.chance = random.Random(seed)

    def mixed(self, wanted: Iterable[Wanted], at_once: int = AT_ONCE) -> list[Seen]:
        """All of them, shuffled, so many at once."""
        calls = list(wanted)
        self.chance.shuffle(calls)
        # From networks of their own, as phones are: the whole of 127/8 is this machine.
        froms = [f"127.{self.chance.randrange(1, 255)}.{self.chance.randrange(256)}.9" for _ in calls]
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(self._one, calls, froms))

    def _one(self, wanted: Wanted, address: str) -> Seen:
        content = _filled(wanted.body)
        is_lab = wanted.path == "/api/batch-issue"
        head = [
            f"POST {wanted.path} HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            "Content-Type: application/json; charset=utf-8",
            f"Content-Length: {len(content)}",
            "Connection: close",
            f"X-API-Key: {self.keys['admin_api_key' if is_lab else 'device_api_key']}",
            *(["X-Chaff: 1"] if wanted.kind == "chaff" else []),
        ]
        with socket.create_connection(
            ("127.0.0.1", self.port), 30, source_address=(address, 0)
        ) as connection:
            began = time.perf_counter()
            connection.sendall("\r\n".join([*head, "", ""]).encode() + content)
            pieces = list(_pieces(connection))
            took = time.perf_counter() - began
        received = b"".join(pieces)
        headers, _, body = received.partition(b"\r\n\r\n")
        seen = (took, float(len(received)), float(len(pieces[0])))
        return Seen(wanted, int(headers.split()[1]), json.loads(body), seen)


def _pieces(connection: socket.socket) -> Iterator[bytes]:
    while piece := connection.recv(65_536):
        yield piece


def _filled(body: dict[str, Any]) -> bytes:
    bare = len(json.dumps({**body, "padding": ""}))
    noise = base64.b64encode(secrets.token_bytes((BODY_BYTES - bare) // 4 * 3)).decode()
    return json.dumps({**body, "padding": noise}).encode().ljust(BODY_BYTES)


def _alike(piece: Slice) -> Found:
    registry = Running(piece.log.with_suffix(""))
    registry.start()
    try:
        registry.wait_until(lambda: "whole walk" in registry.log_path.read_text())
        said_before = len(registry.log_path.read_text())
        calls = Calls(registry, piece.seed)
        seen = _play(calls, piece.size)
        lines = registry.log_path.read_text()[said_before:].splitlines()
    finally:
        registry.stop()
    failures = [f"a line of log: {line}" for line in lines if "registry.publisher" not in line]
    failures += _rows_fault(registry, piece.size)
    for path, found in seen.items():
        failures += _compare(path, found, piece)
    return Found(sum(map(len, seen.values())), failures)


def _play(calls: Calls, size: int) -> dict[str, list[Seen]]:
    """The three endpoints one after the other, each in all kinds at once: a success needs the one before."""
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 2 * 86_400))
    statement = {"testType": "confirmed", "testDate": day}
    batches = [Wanted("lab", "/api/batch-issue", {"codes": [statement] * 10}) for _ in range(-(-size // 10))]
    issued = calls.mixed(batches, at_once=2)  # each takes SQLite's one lock for writing ten times
    codes = [one["code"] for batch in issued for one in batch.answer["codes"]][:size]
    phones = [AppOfOld(lambda *_: (0, {}, b""), "", calls.keys["health_authority_id"]) for _ in codes]
    keys = [fresh_keys(time.time(), today=False) for _ in codes]
    macs = [base64.b64encode(one.mac(of)).decode() for one, of in zip(phones, keys, strict=True)]

    verified = _three(calls, "/api/verify", codes, lambda code: {"code": code}, _wrong_code)
    tokens = _answers(verified, "code", codes, "token")
    asked = [{"token": token, "ekeyhmac": mac} for token, mac in zip(tokens, macs, strict=True)]
    certified = _three(
        calls, "/api/certificate", asked, dict, lambda of: {**of, "token": _spoilt(of["token"])}
    )
    certificates = _answers(certified, "token", tokens, "certificate")
    uploads = [
        phone.publish_body(certificate, of)
        for phone, certificate, of in zip(phones, certificates, keys, strict=True)
    ]
    published = _three(
        calls,
        "/v1/publish",
        uploads,
        dict,
        lambda of: {**of, "hmacKey": base64.b64encode(bytes(16)).decode()},
    )
    return {"verify": verified, "certificate": certified, "publish": published}


def _three(
    calls: Calls,
    path: str,
    good: Sequence[Any],
    body: Callable[[Any], dict[str, Any]],
    spoil: Callable[[dict[str, Any]], dict[str, Any]],
) -> list[Seen]:
    """Each in three ways: as it is, spoilt, and as chaff with what is spoilt."""
    return calls.mixed(
        Wanted(kind, path, body(one) if kind == "success" else spoil(body(one)))
        for one in good
        for kind in KINDS
    )


def _answers(seen: Sequence[Seen], asked: str, order: Sequence[str], member: str) -> list[str]:
    """A member of the successes' answers, in the order of what was asked with."""
    found = {one.wanted.body[asked]: one.answer[member] for one in seen if one.wanted.kind == "success"}
    return [found[one] for one in order]


def _wrong_code(_good: dict[str, Any]) -> dict[str, Any]:
    return {"code": f"{secrets.randbelow(10**15):015d}"}


def _spoilt(token: str) -> str:
    head, _, _signature = token.rpartition(".")
    return f"{head}.{base64.urlsafe_b64encode(secrets.token_bytes(64)).decode().rstrip('=')}"


def _rows_fault(registry: Running, size: int) -> list[str]:
    """What each kind must have left, and nothing else: chaff its row, a success its own, an error none."""
    wanted = {
        ("issuing", "SELECT count(*) FROM issuing_chaff"): 2 * size,
        ("issuing", "SELECT count(*) FROM verification_code WHERE claimed"): size,
        ("issuing", "SELECT count(*) FROM verification_token WHERE used"): size,
        ("issuing", "SELECT count(*) FROM issued_answer"): 2 * size,
        ("collecting", "SELECT count(*) FROM collecting_chaff"): size,
        ("collecting", "SELECT count(*) FROM collected_answer"): size,
    }
    found = {}
    for half, question in wanted:
        engine = create_engine(f"sqlite:///{registry.folder / f'{half}.sqlite'}")
        with engine.connect() as connection:
            found[half, question] = connection.execute(text(question)).scalar_one()
        engine.dispose()
    return [f"{question}: {found[half, question]} for {count}" for (half, question), count in wanted.items()
            if found[half, question] != count]  # fmt: skip


def _compare(path: str, seen: Sequence[Seen], piece: Slice) -> list[str]:
    by_kind = {kind: [one for one in seen if one.wanted.kind == kind] for kind in KINDS}
    failures = [
        f"{path} {kind}: status {one.status}"
        for kind, found in by_kind.items()
        for one in found
        if (one.status == 200) != (kind != "error")
    ]
    whole = {one.seen[1] for one in seen}
    heads = {one.seen[2] for one in seen} - whole  # what came in one piece shows no head
    if len(whole) != 1 or len(heads) > 1:
        failures.append(
            f"{path}: answers of several sizes: {sorted(whole)[:9]}, or of several heads: {sorted(heads)[:9]}"
        )
    limit = max(HIGHEST_AREA, highest_by_chance(piece.size))
    chance = np.random.default_rng(piece.seed)
    for one, other in combinations(KINDS, 2):
        samples = [np.array([answer.seen for answer in by_kind[kind]]) for kind in (one, other)]
        probability = kolmogorov_smirnov(samples[0][:, 0], samples[1][:, 0])
        area = told_apart(samples[0], samples[1], chance)
        medians = ", ".join(f"{1000 * float(np.median(sample[:, 0])):.1f} ms" for sample in samples)
        said = f"{path} {one} and {other}: p {probability:.4f}, area {area:.3f}, medians {medians}"
        with piece.log.open("a") as log:
            log.write(f"{said}\n")
        if probability < LEAST_PROBABILITY or area >= limit:
            failures.append(said)
    return failures


CAMPAIGNS = (Campaign("alike", "answers", 1, OF_EACH_KIND, _alike),)
