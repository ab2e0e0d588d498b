"""`registry run` as its user meets it: a first start, the doors, a second start, the end."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import MetaData

from tests.postgres import PostgresServer
from tests.running import Running, command_line, free_port

FIRST_RUN_FIELDS = {
    "profile", "base_url", "region", "health_authority_id", "device_api_key", "admin_api_key",
    "stats_api_key", "portal_sign_in_url", "log_origin", "trust_fingerprint",
}  # fmt: skip


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    registry = Running(tmp_path / "var")
    yield registry
    if registry.process is not None and registry.process.poll() is None:
        registry.stop()


def test_a_first_start_makes_everything_and_says_where_the_doors_are(running: Running) -> None:
    running.start()
    first_run = running.first_run
    assert set(first_run) == FIRST_RUN_FIELDS
    assert stat.S_IMODE((running.folder / "first-run.json").stat().st_mode) == 0o600
    secrets = [path for path in (running.folder / "keys").rglob("*") if path.is_file()]
    assert len(secrets) >= 6
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
    assert running.get("/exposures/XA/index.txt") == b""
    assert json.loads(running.get("/exposures/XA/index.json"))["region"] == "XA"
    trust = json.loads(running.get("/.well-known/exposure-registry.json"))
    assert trust["profile"] == "demo"
    assert trust["export_signing_keys"][0]["public_key"].startswith("-----BEGIN PUBLIC KEY-----")
    for door in ("/", "/audit/", "/healthz", "/readyz"):
        running.get(door)
    said = running.log_path.read_text()
    fingerprint = first_run["trust_fingerprint"]
    for hint in (first_run["portal_sign_in_url"], "/audit/", "Ctrl-C", "phone --store", fingerprint):
        assert hint in said
    for secret in (first_run["device_api_key"], first_run["admin_api_key"], first_run["stats_api_key"]):
        assert secret not in said


def test_a_second_start_goes_on_with_the_same_data_and_a_fresh_link(running: Running) -> None:
    before = running.start().first_run
    trust = running.get("/.well-known/exposure-registry.json")
    assert running.stop(signal.SIGINT) == 0
    after = running.start().first_run
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"portal_sign_in_url"}
    assert (
        json.loads(trust)["export_signing_keys"]
        == json.loads(running.get("/.well-known/exposure-registry.json"))["export_signing_keys"]
    )
    assert (
        running.call("GET", before["portal_sign_in_url"].removeprefix(before["base_url"]), {}, b"")[0] == 200
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_all_processes(running: Running, number: signal.Signals) -> None:
    running.start()
    family = running.descendants()
    assert any("publish --loop" in command for command in family.values())
    assert any("gunicorn" in command for command in family.values())
    assert running.stop(number) == 0
    assert still_alive(family) == []


def test_what_a_first_start_makes_is_for_its_owner_only(running: Running) -> None:
    running.start()
    made = [path for path in running.folder.rglob("*") if "public" not in path.parts and path.is_file()]
    open_to_others = [str(path) for path in made if path.stat().st_mode & 0o077]
    assert open_to_others == []
    assert any(path.name.endswith(".sqlite") for path in made)
    assert stat.S_IMODE(running.folder.stat().st_mode) == 0o700


def test_a_proxy_of_the_machines_is_not_asked_for_what_runs_on_it(tmp_path: Path) -> None:
    registry = Running(
        tmp_path / "var", http_proxy="http://127.0.0.1:9", HTTP_PROXY="http://127.0.0.1:9"
    ).start()
    registry.wait_until(lambda: "whole walk" in registry.log_path.read_text())
    assert registry.stop() == 0


def test_a_web_server_that_cannot_start_is_told_instead_of_doors(running: Running) -> None:
    running.start()
    running.stop()
    (running.folder / "keys" / "token" / "t1.pem").chmod(0o644)
    with pytest.raises(AssertionError, match="did not start"):
        running.start()
    assert running.process is not None
    assert running.process.wait(30) == 1


def test_a_terminals_interrupt_reaches_all_at_once_and_ends_quietly(running: Running) -> None:
    for _ in range(3):
        running.start()
        for _ in range(3):
            running.get("/")
        with socket.create_connection(("127.0.0.1", running.port)) as half_sent:
            half_sent.sendall(b"POST /v1/publish HTTP/1.1\r\nHost: a\r\n")
            assert running.process is not None
            os.killpg(running.process.pid, signal.SIGINT)
            assert running.process.wait(30) == 0
    said = running.log_path.read_text()
    assert "SIGKILL" not in said
    assert "Traceback" not in said


def test_a_worker_told_twice_to_end_says_nothing_of_the_second_time(running: Running) -> None:
    running.start()
    servers = {pid: command for pid, command in running.descendants().items() if "gunicorn" in command}
    servers.pop(next(iter(servers)))  # the master, which lives on
    before = {pid: connections(pid) for pid in servers}
    with socket.create_connection(("127.0.0.1", running.port)) as half_sent:
        half_sent.sendall(b"POST /v1/publish HTTP/1.1\r\nHost: a\r\n")
        running.wait_until(lambda: any(connections(pid) - before[pid] for pid in servers))
        for pid in servers:
            os.kill(pid, signal.SIGINT)
        # A worker waits for its threads then, a request's among them. Nothing shows that it has come so far.
        time.sleep(0.7)
        waiting = still_alive(servers)
        assert waiting, "one has a request that is half there"
        for pid in waiting:
            os.kill(pid, signal.SIGQUIT)
    running.wait_until(lambda: not still_alive(servers))
    assert running.stop() == 0
    assert "Traceback" not in running.log_path.read_text()


@pytest.fixture
def on_postgresql(tmp_path: Path, postgres_server: PostgresServer) -> Iterator[Running]:
    """A registry both halves of which lie on PostgreSQL, with two web processes."""
    empty = postgres_server.template(MetaData(), "empty")
    with postgres_server.fresh(empty) as issuing, postgres_server.fresh(empty) as collecting:
        registry = Running(
            tmp_path / "var",
            REGISTRY_ISSUING_DATABASE_URL=issuing,
            REGISTRY_COLLECTING_DATABASE_URL=collecting,
            REGISTRY_ANSWER_HOLD_MILLISECONDS="3000",
        )
        yield registry
        if registry.process is not None and registry.process.poll() is None:
            registry.stop()


@pytest.mark.postgresql
def test_hundreds_of_answers_are_held_at_once_and_none_needs_a_thread(on_postgresql: Running) -> None:
    on_postgresql.start()
    request = b"POST /v1/publish HTTP/1.1\r\nHost: a\r\nX-Chaff: 1\r\nContent-Length: 2\r\n\r\n{}"
    with ExitStack() as stack:
        phones = [
            stack.enter_context(socket.create_connection(("127.0.0.1", on_postgresql.port)))
            for _ in range(300)
        ]
        began = time.monotonic()
        for phone in phones:
            phone.settimeout(60)
            phone.sendall(request)
        assert on_postgresql.is_healthy(), "others are served meanwhile"
        threads = [
            len(list(Path(f"/proc/{pid}/task").iterdir()))
            for pid, command in on_postgresql.descendants().items()
            if "gunicorn" in command
        ]
        assert max(threads) < 10
        for phone in phones:
            assert phone.recv(15) == b"HTTP/1.1 200 OK"
        assert 2.9 < time.monotonic() - began < 60, "one after the other they would take a quarter of an hour"


@pytest.mark.postgresql
@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGQUIT), (signal.SIGTERM, signal.SIGTERM)])
def test_green_workers_end_as_quietly(on_postgresql: Running, numbers: tuple[signal.Signals, ...]) -> None:
    on_postgresql.start()
    with socket.create_connection(("127.0.0.1", on_postgresql.port)) as half_sent:
        half_sent.sendall(b"POST /v1/publish HTTP/1.1\r\nHost: a\r\n")
        servers = {pid: name for pid, name in on_postgresql.descendants().items() if "gunicorn" in name}
        servers.pop(next(iter(servers)))  # the master, which lives on
        for number in numbers:
            for pid in still_alive(servers):
                os.kill(pid, number)
            time.sleep(0.7)
        on_postgresql.wait_until(lambda: not still_alive(servers))
        on_postgresql.wait_until(on_postgresql.is_healthy)
        assert on_postgresql.process is not None
        os.killpg(on_postgresql.process.pid, signal.SIGINT)
        assert on_postgresql.process.wait(60) == 0
    said = on_postgresql.log_path.read_text()
    assert "Traceback" not in said
    assert "SIGKILL" not in said


def test_a_request_that_cannot_be_read_leaves_nothing_of_its_caller_in_the_log(running: Running) -> None:
    running.start()
    for junk in (
        b"POST /v?c=planted HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01planted\r\n\r\n",
        b"get /planted\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", running.port)) as caller:
            caller.sendall(junk + b"\r\n\r\n")
            caller.settimeout(10)
            caller.recv(1000)
    said = running.log_path.read_text()
    assert "planted" not in said
    assert "Invalid request" not in said


def test_a_killed_supervisor_leaves_nothing_behind_that_holds_the_port(running: Running) -> None:
    running.start()
    family = running.descendants()
    running.stop(signal.SIGKILL)
    running.process = None
    running.wait_until(lambda: not still_alive(family), 20)
    running.start()


def test_a_folder_with_other_things_in_it_is_initialised_all_the_same(running: Running) -> None:
    running.folder.mkdir()
    (running.folder / "notes.txt").write_text("mine")
    (running.folder / "keys").mkdir()
    running.start()
    assert (running.folder / "notes.txt").read_text() == "mine"
    assert set(running.first_run) == FIRST_RUN_FIELDS


def test_a_second_registry_in_the_same_folder_is_refused_with_a_way_out(running: Running) -> None:
    running.start()
    second = Running(running.folder)
    second.log_path = second.log_path.with_suffix(".second")
    with pytest.raises(AssertionError, match="REGISTRY_DATA_DIR"):
        second.start()
    assert second.process is not None
    assert second.process.wait(30) == 1
    assert running.is_healthy()


def test_a_taken_port_is_named_with_a_way_out(running: Running) -> None:
    running.start()
    second = Running(running.folder.with_name("other"), REGISTRY_PORT=str(running.port))
    second.port = free_port()
    with pytest.raises(AssertionError, match="REGISTRY_PORT"):
        second.start()


def test_production_refuses_a_demonstration_folder(running: Running) -> None:
    running.start()
    running.stop()
    production = Running(running.folder, REGISTRY_PROFILE="production", REGISTRY_REGION="CN-HB")
    with pytest.raises(AssertionError, match="belongs to a demo registry"):
        production.start()
    words = [sys.executable, "-m", "registry.cli", "publish"]
    (running.folder / "registry.json").unlink()
    with pytest.raises(AssertionError, match="belongs to a demo registry"):
        production.start()
    said = subprocess.run(words, env=production.environment, capture_output=True, text=True)
    assert said.returncode == 1
    assert "belongs to a demo registry" in said.stderr


def test_metrics_have_a_port_of_their_own_and_are_off_without_it(tmp_path: Path) -> None:
    port = free_port()
    registry = Running(tmp_path / "var", REGISTRY_METRICS_PORT=str(port)).start()
    try:
        assert registry.call("GET", "/metrics", {}, b"")[0] == 404
        registry.port = port
        wanted = b"registry_publish_last_success_timestamp_seconds"
        registry.wait_until(lambda: wanted in registry.get("/metrics"))
    finally:
        registry.stop()


def connections(pid: int) -> set[str]:
    """The sockets that a process holds, each under a name that no other has."""
    names = [link.resolve().name for link in Path(f"/proc/{pid}/fd").iterdir()]
    return {name for name in names if name.startswith("socket:")}


def still_alive(family: dict[int, str]) -> list[int]:
    """Which of these processes (id → command line) run still; ids are used again for other commands."""
    return [pid for pid, command in family.items() if command_line(pid) == command]
