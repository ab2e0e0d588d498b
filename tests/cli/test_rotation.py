"""What a rotation is going to do is decided before it is done, and done whole."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from registry.cli.rotation import ExportKey, carry_out, plan_rotation, registered_keys
from registry.config import DAY
from registry.models import ExportSigningKey, transaction
from registry.signing.keyring import FilesKeyRing
from tests.clock import NOON_OF_JUNE_15

NOW = int(NOON_OF_JUNE_15)


def key(version: str, begins: int, ends: int) -> ExportKey:
    return ExportKey("XA_export", version, "PEM", begins, ends)


def test_the_next_version_begins_now_and_those_that_live_longer_end_with_the_overlap() -> None:
    ended, ending, living = (
        key("1", NOW - 400 * DAY, NOW - 35 * DAY),
        key("2", NOW - 300 * DAY, NOW + 5 * DAY),
        key("10", NOW - 20 * DAY, NOW + 345 * DAY),
    )
    plan = plan_rotation([ended, ending, living], region="XA", now=NOW, overlap_days=21)
    assert (plan.name, plan.begins, plan.ends) == ("XA_export-11", NOW, NOW + 365 * DAY)
    assert plan.shortened == (living,)
    assert [plan.end_of(one) for one in (ended, ending, living)] == [
        NOW - 35 * DAY, NOW + 5 * DAY, NOW + 21 * DAY,
    ]  # fmt: skip


def test_a_key_that_has_not_begun_ends_after_it_begins() -> None:
    coming = key("2", NOW + 30 * DAY, NOW + 395 * DAY)
    plan = plan_rotation([coming], region="XA", now=NOW, overlap_days=21)
    assert plan.end_of(coming) == NOW + 30 * DAY + 1


def test_the_first_key_of_a_region_with_a_part_is_named_as_the_format_allows() -> None:
    assert plan_rotation([], region="CN-HB", now=NOW, overlap_days=0).name == "CN_HB_export-1"


@pytest.fixture
def ring(tmp_path: Path) -> FilesKeyRing:
    return FilesKeyRing(tmp_path / "keys")


def test_carried_out_the_old_key_ends_and_the_new_one_is_the_rings(
    ring: FilesKeyRing, collecting_url: str
) -> None:
    engine = create_engine(collecting_url)
    carry_out(plan_rotation([], region="XA", now=NOW, overlap_days=0), ring, engine)
    acts: list[str] = []
    later = NOW + 100 * DAY
    plan = plan_rotation(registered_keys(engine), region="XA", now=later, overlap_days=21)
    carry_out(plan, ring, engine, lambda: acts.append(plan.name))
    assert [(one.name, one.not_before, one.not_after) for one in registered_keys(engine)] == [
        ("XA_export-1", NOW, later + 21 * DAY),
        ("XA_export-2", later, later + 365 * DAY),
    ]
    assert {one.public_key_pem for one in registered_keys(engine)} == {
        signer.public_key_pem for signer in ring.export_signers()
    }
    assert acts == ["XA_export-2"]
    engine.dispose()


def test_cut_off_before_its_commit_it_leaves_a_key_that_the_next_one_takes_up(
    ring: FilesKeyRing, collecting_url: str
) -> None:
    engine = create_engine(collecting_url)
    carry_out(plan_rotation([], region="XA", now=NOW, overlap_days=0), ring, engine)
    before = registered_keys(engine)
    plan = plan_rotation(before, region="XA", now=NOW + DAY, overlap_days=21)

    def cut_off() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(plan, ring, engine, cut_off)
    assert registered_keys(engine) == before
    [made] = [signer for signer in ring.export_signers() if signer.key_version == "2"]
    carry_out(plan, ring, engine)
    assert registered_keys(engine)[1].public_key_pem == made.public_key_pem
    engine.dispose()


def test_a_version_that_somebody_else_registered_meanwhile_is_not_taken(
    ring: FilesKeyRing, collecting_url: str
) -> None:
    engine = create_engine(collecting_url)
    plan = plan_rotation([], region="XA", now=NOW, overlap_days=0)
    with Session(engine) as session, transaction(session):
        session.add(
            ExportSigningKey(
                key_id="XA_export", key_version="1", public_key_pem="theirs", not_before=0, not_after=1
            )
        )
    recorded: list[str] = []
    with pytest.raises(Exception, match=r"(?i)unique"):
        carry_out(plan, ring, engine, lambda: recorded.append("done"))
    assert [one.public_key_pem for one in registered_keys(engine)] == ["theirs"]
    assert recorded == []
    engine.dispose()
