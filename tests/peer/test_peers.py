"""How the second implementation comes onto a machine, and what is said where it cannot."""

import pytest

from tests.peer import peers as finding
from tests.peer.peers import LOCK, NoPeers, Peers


def test_a_machine_without_a_python_for_it_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "OLDEST_PYTHON", (99, 0))
    finding.find_peers.cache_clear()
    try:
        with pytest.raises(NoPeers, match=r"needs Python 3\.12"):
            finding.find_peers()
    finally:
        finding.find_peers.cache_clear()


def test_every_package_is_pinned_by_hash() -> None:
    lines = LOCK.read_text().splitlines()
    packages = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert {"aics-tlog==0.2.1", "aics-witness==0.1.0"} < set(packages)
    assert all("==" in package for package in packages)
    assert sum("--hash=sha256:" in line for line in lines) > len(packages)


def test_what_is_installed_is_what_the_lock_names(peers: Peers) -> None:
    listed = peers.run("-m", "pip", "freeze").stdout.split()
    assert {"aics-tlog==0.2.1", "aics-witness==0.1.0"} < set(listed)
    # And nothing of ours: it shares no line with what it checks.
    found = peers.run("-c", "import registry")
    assert "ModuleNotFoundError" in found.stderr
