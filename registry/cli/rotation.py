"""The next export signing key: what a rotation is going to do, said first, and then done.

Old keys go on signing beside the new one until the overlap has ended. Nothing is ever deleted here: a
key that has ended stays in its place until an operator takes it away.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from registry.config import DAY
from registry.models import ExportSigningKey, transaction
from registry.signing import KeyRing

YEAR = 365 * DAY


@dataclass(frozen=True, slots=True)
class ExportKey:
    """An export signing key as it is registered. It signs in [not_before, not_after), unix seconds."""

    key_id: str
    key_version: str
    public_key_pem: str
    not_before: int
    not_after: int

    @property
    def name(self) -> str:
        """`<id>-<version>`, as in file names and tables."""
        return f"{self.key_id}-{self.key_version}"

    def is_live(self, now: float) -> bool:
        """Whether it may sign now."""
        return self.not_before <= now < self.not_after


@dataclass(frozen=True, slots=True)
class RotationPlan:
    """What a rotation does. Times are unix seconds; `shortened` are old keys that it makes end earlier."""

    key_id: str
    key_version: str
    begins: int
    ends: int
    overlap_end: int
    shortened: tuple[ExportKey, ...]

    @property
    def name(self) -> str:
        """The new key's `<id>-<version>`."""
        return f"{self.key_id}-{self.key_version}"

    def end_of(self, key: ExportKey) -> int:
        """When an old key ends after the rotation."""
        return max(self.overlap_end, key.not_before + 1) if key in self.shortened else key.not_after


def registered_keys(collecting: Engine) -> list[ExportKey]:
    """Every export key that was ever registered here, the oldest first."""
    with Session(collecting) as session:
        rows = session.scalars(select(ExportSigningKey).order_by(ExportSigningKey.not_before)).all()
        return [
            ExportKey(row.key_id, row.key_version, row.public_key_pem, row.not_before, row.not_after)
            for row in rows
        ]


def plan_rotation(keys: Sequence[ExportKey], *, region: str, now: int, overlap_days: int) -> RotationPlan:
    """The rotation that makes the next version live at `now` and ends `keys` after `overlap_days`."""
    overlap_end = now + max(1, overlap_days * DAY)
    return RotationPlan(
        key_id=f"{region.replace('-', '_')}_export",
        key_version=str(max((int(key.key_version) for key in keys), default=0) + 1),
        begins=now,
        ends=now + YEAR,
        overlap_end=overlap_end,
        shortened=tuple(key for key in keys if key.not_after > overlap_end),
    )


def carry_out(
    plan: RotationPlan, ring: KeyRing, collecting: Engine, record: Callable[[], None] = lambda: None
) -> None:
    """Make the key where keys lie, then name it and end the old ones, in one transaction.

    `record` writes the act down elsewhere. A crash before it leaves a key that nobody knows of, which the
    next rotation takes up; one between it and the commit leaves an act that was not done, and the operator,
    who saw no answer, rotates again. Raises what the ring raises.
    """
    signer = ring.create_export_key(plan.key_id, plan.key_version)
    with Session(collecting) as session, transaction(session):
        for key in plan.shortened:
            row = session.get_one(ExportSigningKey, (key.key_id, key.key_version))
            row.not_after = plan.end_of(key)
        session.add(
            ExportSigningKey(
                key_id=plan.key_id,
                key_version=plan.key_version,
                public_key_pem=signer.public_key_pem,
                not_before=plan.begins,
                not_after=plan.ends,
            )
        )
        session.flush()
        record()
