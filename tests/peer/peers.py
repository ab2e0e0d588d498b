"""The second implementation: aics-tlog reads logs, aics-witness cosigns them. Neither shares a line with us.

They need Python 3.12 or newer, which need not be the suite's own, so they live in an environment of their
own below build/, made once from `requirements.lock`. Where there is no such Python, or nothing to install
from, `find_peers` raises `NoPeers` with the reason. They know Ed25519 alone and pass over ML-DSA lines.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from registry.protocol.encoding import encode_base64
from registry.protocol.note import VerifierKey, decode_vkey
from registry.protocol.witness_request import origin_hash
from tests.running import PATIENCE_SECONDS, TICK_SECONDS, free_port

SUBMIT = Path(__file__).with_name("submit.py")
LOCK = Path(__file__).with_name("requirements.lock")
BUILD = Path(__file__).parents[2] / "build" / "peer"
OLDEST_PYTHON = (3, 12)
_QUESTION = "import ensurepip, sys, venv; print(*sys.version_info[:2])"
_NO_PROXY = {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}


class NoPeers(Exception):
    """This machine cannot run the second implementation; the message says why."""


@cache
def find_peers() -> "Peers":
    """The second implementation, installed now if it was not. Raises NoPeers."""
    python = _python()
    environment = BUILD / sha256(LOCK.read_bytes() + str(python).encode()).hexdigest()[:16]
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        # Of several workers one installs, the others wait; a kill in between leaves no stamp.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (environment / "complete").exists():
            shutil.rmtree(environment, ignore_errors=True)
            _install(python, environment)
            (environment / "complete").touch()
    return Peers(environment / "bin" / "python")


def _python() -> Path:
    """The first Python on this machine that is new enough and can make environments."""
    names = [f"python3.{minor}" for minor in range(12, 20)] + ["python3"]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [sys.executable, *(shutil.which(name) for name in names)]
    for candidate in [*filter(None, found), *sorted(pyenv.glob("versions/3.*/bin/python"))]:
        asked = subprocess.run([candidate, "-c", _QUESTION], capture_output=True, text=True, check=False)
        if asked.returncode == 0 and tuple(map(int, asked.stdout.split())) >= OLDEST_PYTHON:
            return Path(candidate)
    raise NoPeers("needs Python 3.12 or newer, with its venv module, on this machine")


def _install(python: Path, environment: Path) -> None:
    subprocess.run([python, "-m", "venv", environment], check=True, capture_output=True)
    pip = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    installed = subprocess.run(
        [*pip, "--require-hashes", "--only-binary", ":all:", "-r", LOCK],
        capture_output=True,
        text=True,
        check=False,
    )
    # Other bytes than the lock's are a fault, and never a mere skip.
    assert "HASHES" not in installed.stderr, installed.stderr
    if installed.returncode:
        raise NoPeers(f"could not be installed: {installed.stderr.strip()[-300:]}")


@dataclass(frozen=True)
class Answer:
    """What a command of aics-tlog said: its exit code, and the one JSON object that it prints."""

    exit_code: int
    said: dict[str, Any]

    @property
    def ok(self) -> bool:
        return self.exit_code == 0 and self.said.get("ok") is True


@dataclass(frozen=True)
class Peers:
    """Runs the second implementation. `python` is that of its own environment."""

    python: Path

    def run(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """One command of its Python, with `given` on its standard input, to its end.

        `-P`: the folder in which the suite runs is not on its path, so it can import nothing of ours.
        """
        return subprocess.run(
            [self.python, "-P", *arguments],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
            env=_environment(),
        )

    def _tlog(self, *arguments: str) -> Answer:
        done = self.run("-m", "aics_tlog", *arguments)
        assert done.stdout, done.stderr
        return Answer(done.returncode, json.loads(done.stdout))

    def verify_checkpoint(
        self,
        tiles: str,
        *,
        log_vkey: str,
        witness_vkeys: Sequence[str] = (),
        quorum: int = 0,
        max_age: int | None = None,
        origin: str | None = None,
    ) -> Answer:
        """Whether the checkpoint below the prefix `tiles` is signed, cosigned, fresh (seconds), and is the
        root of the tiles beside it.
        """
        return self._tlog(
            "verify-checkpoint",
            *_source(tiles, log_vkey),
            *(part for vkey in witness_vkeys for part in ("--witness-key", vkey)),
            *("--quorum", str(quorum)),
            *(("--max-age", str(max_age)) if max_age is not None else ()),
            *(("--origin", origin) if origin is not None else ()),
        )

    def verify_inclusion(
        self, tiles: str, *, log_vkey: str, index: int, leaf_hash: bytes | None = None
    ) -> Answer:
        """Whether leaf `index` (the bundle's, or one with this hash) is in the tree of the checkpoint."""
        leaf = () if leaf_hash is None else ("--leaf-hash", leaf_hash.hex())
        return self._tlog("verify-inclusion", *_source(tiles, log_vkey), "--index", str(index), *leaf)

    def verify_consistency(self, tiles: str, *, log_vkey: str, old_checkpoint: Path) -> Answer:
        """Whether the log below `tiles` goes on from the checkpoint in this file."""
        return self._tlog(
            "verify-consistency", *_source(tiles, log_vkey), "--old-checkpoint", str(old_checkpoint)
        )

    def submit(
        self, url: str, *, vkey: str, state: Path, note: bytes, proofs: Mapping[int, Sequence[bytes]]
    ) -> dict[str, Any]:
        """What its client makes of the witness at `url`: {lines} or {error, status}. It asks with the
        `proofs` it needs, by old size, and keeps what it knows of the witness in the file `state`.
        """
        given = {
            "url": url,
            "vkey": vkey,
            "state": str(state),
            "note": note.decode(),
            "proofs": {old: [encode_base64(one) for one in path] for old, path in proofs.items()},
        }
        done = self.run(str(SUBMIT), given=json.dumps(given))
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    @contextmanager
    def start_witness(
        self, folder: Path, *log_vkeys: str, name: str = "witness.example.org/peer"
    ) -> Iterator["RunningWitness"]:
        """A witness on a loopback port that trusts these logs alone; its state is kept in `folder`.

        A log's origin is its key's name. Starting it again in the same folder goes on with the same state.
        """
        path = folder / "witness.json"
        config = ("--config", str(path))
        listen = f"127.0.0.1:{free_port()}"
        made = self.run("-m", "aics_witness", "init", *config, *(() if path.exists() else ("--name", name)))
        assert made.returncode == 0, made.stderr
        settings = json.loads(path.read_text())
        settings["logs"] = [{"origin": decode_vkey(vkey).name, "vkeys": [vkey]} for vkey in log_vkeys]
        path.write_text(json.dumps(settings))
        with (folder / "witness.log").open("ab") as log:
            process = subprocess.Popen(
                [self.python, "-P", "-m", "aics_witness", "serve", *config, "--listen", listen],
                stdout=log,
                stderr=log,
                env=_environment(),
            )
        try:
            witness = RunningWitness(f"http://{listen}", decode_vkey(made.stdout.strip()))
            _wait_until_healthy(witness, process, folder / "witness.log")
            yield witness
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


@dataclass(frozen=True)
class HttpAnswer:
    """A witness's answer as it came."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True)
class RunningWitness:
    """A witness that answers at `url` (its submission and its monitoring prefix) and signs with `key`."""

    url: str
    key: VerifierKey

    @property
    def vkey(self) -> str:
        return self.key.vkey

    def add_checkpoint(self, body: bytes) -> HttpAnswer:
        """POST to add-checkpoint."""
        return _exchange(f"{self.url}/add-checkpoint", body)

    def last_cosigned(self, origin: str) -> HttpAnswer:
        """The checkpoint that it last cosigned for this log."""
        return _exchange(f"{self.url}/{origin_hash(origin)}/checkpoint")


def _source(tiles: str, log_vkey: str) -> tuple[str, ...]:
    return ("--tiles", tiles, "--log-key", log_vkey)


def _environment() -> dict[str, str]:
    ours = ("REGISTRY_", "AICS_", "WITNESS_", "PYTHON")
    return {**{name: text for name, text in os.environ.items() if not name.startswith(ours)}, **_NO_PROXY}


def _exchange(url: str, body: bytes | None = None) -> HttpAnswer:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, body, timeout=PATIENCE_SECONDS) as answer:
            return HttpAnswer(answer.status, answer.headers.get("Content-Type", ""), answer.read())
    except urllib.error.HTTPError as refusal:
        with refusal:
            return HttpAnswer(refusal.code, refusal.headers.get("Content-Type", ""), refusal.read())


def _wait_until_healthy(witness: RunningWitness, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            if _exchange(f"{witness.url}/healthz").status == 200:
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(TICK_SECONDS)
