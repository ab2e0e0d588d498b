"""The one commit, and what deleting leaves behind on SQLite's disk."""

from pathlib import Path

import pytest
from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from registry.models import CollectingBase, CollectingChaff, forget_journal, open_database, transaction


def noise_of(number: int) -> bytes:
    return b"planted-%06d" % number


def write(session: Session, *noises: bytes, fault: BaseException | None = None) -> None:
    with transaction(session):
        for noise in noises:
            session.execute(CollectingChaff.__table__.insert().values(noise=noise))
        if fault:
            raise fault


def test_all_of_a_transaction_or_nothing(collecting_session: Session) -> None:
    with pytest.raises(IntegrityError):
        write(collecting_session, b"a", b"b", b"a")
    assert collecting_session.scalar(select(func.count()).select_from(CollectingChaff)) == 0

    write(collecting_session, b"a")
    assert collecting_session.scalar(select(func.count()).select_from(CollectingChaff)) == 1


def test_a_fault_in_the_block_leaves_the_session_usable(collecting_session: Session) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(collecting_session, b"a", fault=KeyboardInterrupt())
    write(collecting_session, b"b")
    assert collecting_session.scalars(select(CollectingChaff.noise)).all() == [b"b"]


def test_a_connection_that_cannot_write_any_more_is_not_used_again(tmp_path: Path) -> None:
    """As SQLite opens a file that the disk would not let it open for writing."""
    engine = open_database(f"sqlite:///{tmp_path / 'half.sqlite'}")
    CollectingBase.metadata.create_all(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only=ON")
    with Session(engine) as session, pytest.raises(OperationalError, match="readonly"):
        write(session, b"a")
    with Session(engine) as session:
        write(session, b"b")
        assert session.scalars(select(CollectingChaff.noise)).all() == [b"b"]
    engine.dispose()


def test_what_was_deleted_lies_in_no_file_of_the_database(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'half.sqlite'}")
    CollectingBase.metadata.create_all(engine)
    with Session(engine) as session, transaction(session):
        session.add_all(CollectingChaff(noise=noise_of(number)) for number in range(500))
    with Session(engine) as session, transaction(session):
        session.execute(delete(CollectingChaff))
    left = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"planted-" in left, "the journal still holds it"
    forget_journal(engine)
    left = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"planted-" not in left
    engine.dispose()
