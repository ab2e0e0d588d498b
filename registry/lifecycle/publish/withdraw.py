"""Takes a published batch away before its time: by a legal order, or because its keys were wrong.

Marks it and no more; the next run of the publisher logs it, takes it out of the indexes, and deletes the
files. Never silent: the log says for ever that it was withdrawn, and commits to why.
"""

import secrets
from collections.abc import Callable

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from registry.errors import NothingToWithdraw
from registry.models import Batch, ExportFile, Withdrawal, transaction
from registry.protocol.committed import WithdrawReason

_SALT_BYTES = 32


def withdraw_batch(
    new_session: Callable[[], Session], *, region: str, sequence: int, reason: WithdrawReason, reference: str
) -> None:
    """Mark window `sequence` of `region` as withdrawn. `reference` says why, for whoever may ask; it is kept
    here with its salt, and the log gets a commitment to both.

    A crash before the commit leaves nothing of it. Raises NothingToWithdraw.
    """
    with new_session() as session, transaction(session):
        batch = session.scalars(
            select(Batch).where(Batch.region == region, Batch.sequence == sequence).with_for_update()
        ).one_or_none()
        if batch is None or batch.log_number is None:
            raise NothingToWithdraw(
                f"window {sequence} of {region} is not published, or is forgotten already"
            )
        if batch.is_withdrawn:
            raise NothingToWithdraw(f"window {sequence} of {region} is withdrawn already")
        if not session.scalar(select(exists().where(ExportFile.batch_id == batch.id))):
            raise NothingToWithdraw(f"window {sequence} of {region} has no files")
        batch.is_withdrawn = True
        session.add(
            Withdrawal(
                region=region,
                sequence=sequence,
                reason=reason,
                salt=secrets.token_bytes(_SALT_BYTES),
                reference=reference,
            )
        )
