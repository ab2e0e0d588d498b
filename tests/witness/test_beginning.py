"""How a witness begins, and how it must not begin again."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from registry.errors import ConfigurationError, Malformed, Unavailable
from registry.protocol.note import verifier_key
from registry.witness.beginning import begin_witness
from registry.witness.cosigner import Witness
from registry.witness.state import create_state, exclusive, open_state
from tests.clock import NOON_OF_JUNE_15 as NOON
from tests.protocol.note_signers import MadeNoteSigner, ml_dsa_signer, witness_signer
from tests.witness.conftest import NAME
from tests.witness.shown_log import ShownLog


class Keys:
    """A key folder: makes its keys once, may lose them."""

    def __init__(self) -> None:
        self.made: tuple[MadeNoteSigner, ...] = ()

    def make(self) -> Sequence[MadeNoteSigner]:
        self.made = self.made or (witness_signer(NAME), ml_dsa_signer(NAME))
        return self.made

    def begin(self, path: Path, name: str = NAME) -> Witness:
        return begin_witness(path, name, has_keys=bool(self.made), make_keys=self.make)


@pytest.fixture
def keys() -> Keys:
    return Keys()


def test_beginning_again_changes_nothing(path: Path, keys: Keys, log: ShownLog) -> None:
    first = keys.begin(path)
    first.add_log(verifier_key(log.signers[0]))
    first.add_checkpoint(log.request(0), NOON)
    again = keys.begin(path)
    assert again.keys == first.keys
    assert [head.size for _, head in again.logs() if head] == [20]
    assert path.stat().st_mode & 0o077 == 0


def test_a_witness_that_lost_its_state_never_begins_again(path: Path, keys: Keys, log: ShownLog) -> None:
    begun = keys.begin(path)
    begun.add_log(verifier_key(log.signers[0]))
    path.unlink()

    with pytest.raises(ConfigurationError, match="never cosign again"):
        keys.begin(path)
    with pytest.raises(ConfigurationError, match="never cosign again"):
        Witness(path, keys.made)
    with pytest.raises(ConfigurationError, match="never cosign again"):
        begun.add_checkpoint(log.request(0), NOON)
    assert not path.exists()


def test_an_empty_file_is_a_lost_state(path: Path, keys: Keys) -> None:
    keys.begin(path)
    for leftover in path.parent.iterdir():
        leftover.unlink()
    path.touch()
    with pytest.raises(ConfigurationError, match="never cosign again"):
        keys.begin(path)
    with pytest.raises(ConfigurationError, match="no witness's state"):
        Witness(path, keys.made)


def test_a_crash_before_the_keys_is_taken_up_again(path: Path, keys: Keys) -> None:
    create_state(path, NAME)
    with pytest.raises(ConfigurationError, match="other keys"):
        Witness(path, (witness_signer(NAME),))
    assert keys.begin(path).logs() == []


def test_a_crash_between_the_keys_and_their_binding_is_taken_up_again(path: Path, keys: Keys) -> None:
    create_state(path, NAME)
    keys.make()
    assert keys.begin(path).logs() == []


def test_a_crash_before_the_tables_is_taken_up_again(path: Path, keys: Keys) -> None:
    path.touch()
    assert keys.begin(path).logs() == []


def test_other_keys_do_not_take_over_a_state(path: Path, keys: Keys) -> None:
    keys.begin(path)
    with pytest.raises(ConfigurationError, match="other keys"):
        Witness(path, (witness_signer(NAME), ml_dsa_signer(NAME)))


def test_lost_keys_are_not_made_anew(path: Path, keys: Keys) -> None:
    keys.begin(path)
    other = Keys()
    with pytest.raises(ConfigurationError, match="missing"):
        other.begin(path)
    assert other.made == ()


def test_a_witness_keeps_its_name(path: Path, keys: Keys) -> None:
    keys.begin(path)
    with pytest.raises(ConfigurationError, match=r"not of other\.example"):
        keys.begin(path, "other.example")


@pytest.mark.parametrize(
    ("name", "error"), [("a b", Malformed), ("a+b", Malformed), ("a" * 256, ConfigurationError)]
)
def test_a_name_that_no_key_can_have_makes_nothing(
    path: Path, keys: Keys, name: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        keys.begin(path, name)
    assert not path.exists()


def test_a_file_that_is_no_database_is_said_to_be_none(path: Path, keys: Keys) -> None:
    path.write_bytes(b"something else entirely, and long enough to be read" * 20)
    with pytest.raises(Unavailable):
        keys.begin(path)


def test_the_database_itself_gives_a_size_one_root(path: Path, witness: Witness, log: ShownLog) -> None:
    """Were every check in the program wrong, the table would still refuse."""
    witness.add_checkpoint(log.request(0), NOON)
    with open_state(path) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute("INSERT INTO cosigned VALUES (?, ?, ?, ?)", (log.origin, log.size, bytes(32), b""))


def test_who_decides_is_alone_from_the_first_look(path: Path, witness: Witness) -> None:
    """A second one that has read the head before the first has written it could go on from an old one."""
    _ = witness
    with open_state(path) as first, open_state(path) as second:
        second.execute("PRAGMA busy_timeout=0")
        locked = pytest.raises(sqlite3.OperationalError, match="locked")
        with exclusive(first), locked, exclusive(second):
            pytest.fail("two looked at the same time")
        with exclusive(second):
            assert second.in_transaction


def test_a_state_that_vanishes_while_it_is_opened_is_not_made_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_file", lambda self: True)
    with pytest.raises(Unavailable), open_state(path):
        pytest.fail("nothing is there to be opened")
    assert not path.exists()


def test_a_commit_waits_for_the_disk(path: Path, witness: Witness) -> None:
    _ = witness
    with open_state(path) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
