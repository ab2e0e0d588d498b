"""The second implementation, or a reason why it is not here; one witness for many logs."""

from collections.abc import Iterator

import pytest

from tests.peer.peers import NoPeers, Peers, RunningWitness, find_peers
from tests.protocol.made_log import MadeLog
from tests.protocol.note_signers import MadeNoteSigner, ed25519_signer, ml_dsa_signer

LOGS_OF_A_MODULE = 16


@pytest.fixture(scope="session")
def peers() -> Peers:
    """Installed once per machine. Without a Python for it: skip, and say so."""
    try:
        return find_peers()
    except NoPeers as reason:
        pytest.skip(f"the second implementation {reason}")


@pytest.fixture(scope="module")
def signers() -> dict[str, tuple[MadeNoteSigner, MadeNoteSigner]]:
    """Both keys of each log that the module's tests may use up, by origin."""
    origins = [f"registry.example.org/keys/{2026 + number}" for number in range(LOGS_OF_A_MODULE)]
    return {origin: (ed25519_signer(origin), ml_dsa_signer(origin)) for origin in origins}


@pytest.fixture(scope="module")
def unused(signers: dict[str, tuple[MadeNoteSigner, MadeNoteSigner]]) -> Iterator[str]:
    """Origins that no test has shown to the witness yet."""
    return iter(signers)


@pytest.fixture(scope="module")
def theirs(
    peers: Peers,
    signers: dict[str, tuple[MadeNoteSigner, MadeNoteSigner]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningWitness]:
    """Their witness, which knows all of the module's logs."""
    vkeys = [ed25519.key.vkey for ed25519, _ in signers.values()]
    with peers.start_witness(tmp_path_factory.mktemp("witness"), *vkeys) as running:
        yield running


@pytest.fixture
def log(unused: Iterator[str], signers: dict[str, tuple[MadeNoteSigner, MadeNoteSigner]]) -> MadeLog:
    """A log of 300 leaves that nobody has seen."""
    origin = next(unused)
    made = MadeLog(origin, signers[origin])
    made.append(b"leaf %d" % number for number in range(300))
    return made
