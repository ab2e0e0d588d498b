"""A witness that has just begun, and knows one log."""

from pathlib import Path

import pytest

from registry.protocol.note import verifier_key
from registry.witness.beginning import begin_witness
from registry.witness.cosigner import Witness
from tests.protocol.note_signers import MadeNoteSigner, ml_dsa_signer, witness_signer
from tests.witness.shown_log import ShownLog

NAME = "witness.example/w1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "witness.sqlite"


@pytest.fixture
def signers() -> tuple[MadeNoteSigner, MadeNoteSigner]:
    return witness_signer(NAME), ml_dsa_signer(NAME)


@pytest.fixture
def log() -> ShownLog:
    """A log of 20 leaves."""
    return ShownLog(20)


@pytest.fixture
def witness(path: Path, signers: tuple[MadeNoteSigner, MadeNoteSigner], log: ShownLog) -> Witness:
    """Knows both keys of `log`."""
    begun = begin_witness(path, NAME, has_keys=False, make_keys=lambda: signers)
    for signer in log.signers:
        begun.add_log(verifier_key(signer))
    return begun
