"""`registry witness`: our own witness, by which other registries' logs are cosigned.

It may run alone, on a machine that holds no registry, or inside an embedded registry; the folder and the
commands are the same.
"""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from registry.app import begin_own_witness, open_witness
from registry.cli.faults import told_plainly
from registry.config import read_settings
from registry.errors import ConfigurationError
from registry.protocol.log_list import decode_log_list, is_log_list
from registry.protocol.note import KeyKind, VerifierKey, decode_vkey
from registry.protocol.witness_policy import PolicyWitness, decode_policy, quorum_strength
from registry.witness.state import EvidenceKind

KIND_WORDS = {KeyKind.COSIGNATURE_V1: "Ed25519, which phones check", KeyKind.ML_DSA_44: "ML-DSA-44"}
EVIDENCE_WORDS = {
    EvidenceKind.FORK: "two roots for one size, both signed by the log: it has forked",
    EvidenceKind.UNPROVEN: "a larger tree, signed by the log, whose proof does not hold: perhaps a fork",
}


@click.group()
def witness() -> None:
    """Our own witness: cosign the logs of other registries."""


@witness.command()
@click.option("--name", help="A host and a path, such as health.example/witness. Never to change.")
@told_plainly
def init(name: str | None) -> None:
    """Begin a witness: its state and its keys. Called again, it finishes or changes nothing."""
    begun = begin_own_witness(read_settings(), name)
    click.echo(f"The witness {begun.keys[0].name} is ready: `registry witness add-log` tells it of a log.")


@witness.command("add-log")
@click.argument("vkey")
@click.option("--origin", help="The log's origin line, where it is not the key's name.")
@click.option("--contact", default="", help="How to reach who runs the log.")
@told_plainly
def add_log(vkey: str, origin: str | None, contact: str) -> None:
    """Cosign the log whose key is VKEY, from now on. A running witness needs no restart."""
    key = decode_vkey(vkey)
    open_witness(read_settings()).add_log(key, origin, contact)
    click.echo(f"{origin or key.name} is cosigned when {key.name} has signed it.")


@witness.command("add-logs")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--contact", default="", help="How to reach who runs the logs of a policy.")
@told_plainly
def add_logs(file: Path, contact: str) -> None:
    """Cosign every log of FILE: a list of logs ("logs/v0"), or the policy that a registry publishes."""
    listed = _read_logs(file.read_bytes(), contact)
    ours = open_witness(read_settings())
    for key, origin, reached_at in listed:
        ours.add_log(key, origin, reached_at)
    for origin in sorted({origin for _, origin, _ in listed}):
        click.echo(f"{origin} is cosigned.")


def _read_logs(content: bytes, contact: str) -> list[tuple[VerifierKey, str, str]]:
    """Key, origin and contact of each. How many requests a list allows a log is not counted here."""
    if is_log_list(content):
        return [(log.key, log.origin, log.contact) for log in decode_log_list(content)]
    return [(log.key, log.key.name, contact) for log in decode_policy(content).logs]


@witness.command("remove-log")
@click.argument("origin")
@told_plainly
def remove_log(origin: str) -> None:
    """Cosign a log no longer. What was cosigned stays known, should it be added again."""
    if not open_witness(read_settings()).remove_log(origin):
        raise click.ClickException(f"no log with the origin {origin}: `registry witness logs` lists them")
    click.echo(f"{origin} is cosigned no longer.")


@witness.command()
@told_plainly
def logs() -> None:
    """Which logs are cosigned, and what was cosigned last."""
    for log, head in open_witness(read_settings()).logs():
        state = f"size {head.size}, cosigned {_utc(head.time)}" if head else "never cosigned yet"
        contact = f", {log.contact}" if log.contact else ""
        click.echo(f"{log.origin}: {state}, {len(log.keys)} key(s){contact}")


@witness.command()
@click.option("--url", help="Submission prefix as logs reach it; REGISTRY_BASE_URL/witness without it.")
@told_plainly
def keys(url: str | None) -> None:
    """Print the verifier keys, as lines for the policy of a log that this witness cosigns."""
    settings = read_settings()
    found = open_witness(settings).keys
    prefix = url or f"{settings.base_url}/witness"
    for key in found:
        short = key.name.replace("/", "-") + ("-mldsa44" if key.kind == KeyKind.ML_DSA_44 else "")
        line = PolicyWitness(short, key, prefix)
        click.echo(f"# {KIND_WORDS[KeyKind(key.kind)]}")
        click.echo(f"witness {line.name} {line.key.vkey} {line.url}")
    click.echo(f"# monitors: {prefix}/<SHA-256 of the origin in hexadecimal>/checkpoint")


@witness.command()
@told_plainly
def evidence() -> None:
    """Print every refused request that shows, or may show, a fork. Status 3 if there is any."""
    found = open_witness(read_settings()).evidence()
    for one in found:
        click.echo(f"# {one.origin}, {_utc(one.time)}: {EVIDENCE_WORDS[one.kind]}")
        click.echo("# ---- what it sent, the note last\n" + one.request.decode("utf-8", "replace"))
        if one.held is not None:
            click.echo("# ---- what it had signed before, as cosigned here\n" + one.held.decode())
    if found:
        sys.exit(3)
    click.echo("Nothing was refused that a log had signed.")


@witness.command("check-policy")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@told_plainly
def check_policy(file: Path) -> None:
    """Say whether FILE can be a registry's witness policy, and what its quorum gives."""
    policy = decode_policy(file.read_bytes())
    counted = {one.name for one in policy.counted()}
    for one in policy.witnesses:
        role = "counts for the quorum" if one.name in counted else "is asked, and never counted"
        click.echo(f"{one.name}: {role}; {one.url or 'no address: it cannot be asked'}")
    click.echo(quorum_strength(policy).words)


@witness.command()
@click.option("--host", help="REGISTRY_HOST without it.")
@click.option("--port", type=click.IntRange(1, 65535), help="REGISTRY_PORT without it.")
@told_plainly
def serve(host: str | None, port: int | None) -> None:
    """Serve the witness alone, under /witness, until stopped. TLS belongs in front."""
    settings = read_settings()
    # Looked at before anything listens: a witness without its state must not seem to be one.
    open_witness(settings).check()
    command = [
        *(sys.executable, "-m", "gunicorn", "registry.app:witness_alone()"),
        *("--bind", f"{host or settings.host}:{port or settings.port}"),
        *("--worker-class", "gthread", "--workers", str(settings.web_processes), "--threads", "8"),
        *("--keep-alive", "30", "--graceful-timeout", "5", "--timeout", "60"),
        *("--preload", "--no-control-socket"),
        *("--log-level", "warning", "--logger-class", "registry.cli.web_log.WebLog"),
        *("--config", "python:registry.cli.web_hooks"),
    ]
    # The same process goes on as the server, so that whoever started it ends it by one signal.
    try:
        os.execv(sys.executable, command)  # noqa: S606  # our own command
    except OSError as error:
        raise ConfigurationError(f"the web server cannot be started: {error.strerror}") from error


def _utc(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
