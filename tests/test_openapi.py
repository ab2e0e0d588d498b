"""`openapi.yaml` is what the code makes of its schemas, and the applications keep to it under random calls.

REGISTRY_SOAK_EXAMPLES sets how many calls schemathesis makes in all; the seed is fixed.
"""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from openapi_spec_validator import validate
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy.orm import Session
from werkzeug.routing import Rule

from registry.faces.device import CollectingFace, IssuingFace, create_collecting_app, create_issuing_app
from registry.faces.device.answers import ANSWER_SIZE
from registry.faces.openapi import build, render
from registry.faces.public import create_public_app
from registry.lifecycle.authorize import IssuingPolicy
from registry.lifecycle.collect import CollectionPolicy
from registry.protocol.index import shard_signed_path
from registry.storage.local import LocalStorage
from tests.app_of_old import fresh_keys
from tests.authority import (
    ADMIN_KEY,
    AUTHORITY,
    DEVICE_KEY,
    LOOKUP_KEY,
    RECALL_KEY,
    RING,
    STATS_KEY,
    MadeSigner,
    found_collecting,
    found_issuing,
)
from tests.clock import FakeClock
from tests.world import World

DOCUMENT = Path(__file__).parent.parent / "openapi.yaml"
EXAMPLES = int(os.environ.get("REGISTRY_SOAK_EXAMPLES", "200"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
ADMIN_PATHS = {"/api/issue", "/api/batch-issue", "/api/checkcodestatus", "/api/expirecode", "/api/fhir"}

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@pytest.fixture
def registry(
    issuing_url: str,
    collecting_url: str,
    issuing_session: Session,
    collecting_session: Session,
    clock: FakeClock,
    tmp_path: Path,
) -> App:
    """The applications under one address."""
    certificates, tokens = MadeSigner("c1"), MadeSigner("t1")
    found_issuing(issuing_session, certificates)
    found_collecting(collecting_session, certificates, clock())
    nothing: dict[str, Any] = {"sleep": lambda _: None, "monotonic": lambda: 0.0, "hold_milliseconds": 0}
    issuing = create_issuing_app(
        IssuingFace(
            database_url=issuing_url,
            clock=clock,
            lookup_key=LOOKUP_KEY,
            token_signer=tokens,
            token_public_keys={"t1": tokens.public_key},
            certificate_signers={AUTHORITY: certificates},
            recall_public_key=RECALL_KEY.public_key(),
            policy=IssuingPolicy(),
            **nothing,
        )
    )
    collecting = create_collecting_app(
        CollectingFace(
            database_url=collecting_url,
            clock=clock,
            revision_keys=RING,
            policy=CollectionPolicy(),
            **nothing,
        )
    )
    public = create_public_app(LocalStorage(tmp_path))

    def dispatch(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        part = collecting if path.startswith("/v1/") else issuing
        if path.startswith(("/exposures/", "/.well-known/", "/log/")):
            part = public
        answered = part if environ["REQUEST_METHOD"] != "POST" else of_one_size(part)
        return answered(environ, start_response)

    return dispatch


def of_one_size(part: App) -> App:
    """`part`, whose every answer must be as long as every other, from status line to body."""

    def measured(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        sizes: list[int] = []

        def measure(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            sizes.append(
                len(f"HTTP/1.1 {status}\r\n") + sum(len(name + value) + 4 for name, value in headers)
            )
            return start_response(status, headers, *exc_info)

        body = b"".join(part(environ, measure))
        assert sizes[-1] + len(body) == ANSWER_SIZE
        return [body]

    return measured


def test_the_document_is_current_and_valid() -> None:
    written = DOCUMENT.read_text()
    assert written == render(), "openapi.yaml is stale: run `make openapi`"
    validate(yaml.safe_load(written))


def test_every_route_of_the_device_applications_is_described(
    issuing_url: str, collecting_url: str, clock: FakeClock
) -> None:
    described = {(path, method.upper()) for path, methods in build()["paths"].items() for method in methods}
    signer = MadeSigner("k")
    timeless: dict[str, Any] = {"sleep": lambda _: None, "monotonic": lambda: 0.0}
    issuing = create_issuing_app(
        IssuingFace(
            issuing_url,
            clock,
            LOOKUP_KEY,
            signer,
            {},
            {},
            RECALL_KEY.public_key(),
            IssuingPolicy(),
            **timeless,
        )
    )
    collecting = create_collecting_app(
        CollectingFace(collecting_url, clock, RING, CollectionPolicy(), **timeless)
    )
    routes = {
        route for app in (issuing, collecting) for rule in app.url_map.iter_rules() for route in _of(rule)
    }
    assert {("/v1/publish", "POST"), ("/api/verify", "POST")} < routes
    assert routes <= described


def _of(rule: Rule) -> set[tuple[str, str]]:
    path = re.sub("<([a-z_]+)>", r"{\1}", rule.rule.replace("<authority_id>", "<authority>"))
    return {(path, method) for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}


def test_every_public_file_answers_as_described(world: World) -> None:
    world.app().upload(world.issue()["code"], fresh_keys(world.clock(), today=False))
    world.next_window()
    world.clock.advance(86_400)
    world.publish()  # the day is closed now and has a file
    public_dir = world.settings.public_dir
    caller = create_public_app(LocalStorage(public_dir)).test_client()
    described = {path: methods["get"] for path, methods in build()["paths"].items() if "get" in methods}
    met = set()
    for file in filter(Path.is_file, public_dir.rglob("*")):
        name = file.relative_to(public_dir).as_posix()
        if name == shard_signed_path(2026):
            assert caller.get(f"/{name}").status_code == 404, "the publisher's own, for when it starts again"
            continue
        if file.suffix == ".gz":
            assert caller.get(f"/{name}").status_code == 404, "a compressed twin is for nginx to find"
            assert file.with_suffix("").is_file(), name
            continue
        # A partial tile has more parts than a path's parameters can tell.
        path = next(path for path in described if _pattern(path).fullmatch(f"/{name.split('.p/')[0]}"))
        answer = caller.get(f"/{name}")
        assert answer.status_code == 200, name
        assert [answer.content_type] == list(described[path]["responses"]["200"]["content"]), name
        met.add(path)
    public = {path for path, operation in described.items() if operation["tags"] == ["public"]}
    assert public - met == {"/log/tile/{level}/{number}"}, "it answers with the newest shard's files"


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{[a-z0-9_]+\}", path)
    return re.compile("[^/]+?".join(map(re.escape, parts)))


def test_random_calls_meet_no_fault_and_no_undocumented_answer(registry: App) -> None:
    schema = schemathesis.openapi.from_dict(build())
    schema.app = registry
    operations = [result.ok() for result in schema.get_all_operations()]
    runs = [(operation, mode) for operation in operations for mode in _modes(operation)]
    open_runs = sum(not _is_one_call(operation) for operation, _mode in runs)
    share = -(-EXAMPLES // open_runs)
    made = sum(_attack(operation, mode, share) for operation, mode in runs)
    assert made >= EXAMPLES


def _key_for(path: str) -> str:
    if path.startswith("/api/stats/"):
        return STATS_KEY
    return ADMIN_KEY if path in ADMIN_PATHS else DEVICE_KEY


def _modes(operation: APIOperation[Any, Any, Any, Any]) -> tuple[GenerationMode, ...]:
    """Right and wrong bodies where there are bodies."""
    if operation.body:
        return GenerationMode.POSITIVE, GenerationMode.NEGATIVE
    return (GenerationMode.POSITIVE,)


def _is_one_call(operation: APIOperation[Any, Any, Any, Any]) -> bool:
    """Whether nothing about the call can vary."""
    return not operation.body and not operation.path_parameters


def _attack(operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode, calls: int) -> int:
    """Make random calls to one operation; how many were made."""
    made = 0

    @seed(20260615)
    @settings(
        max_examples=1 if _is_one_call(operation) else calls,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def attempt(case: schemathesis.Case) -> None:
        nonlocal made
        made += 1
        case.headers["X-API-Key"] = _key_for(operation.path)
        if isinstance(case.body, dict) and case.body.get("healthAuthorityID"):
            case.body["healthAuthorityID"] = AUTHORITY
        response = case.call()
        case.validate_response(response, checks=CHECKS)

    attempt()
    return made
