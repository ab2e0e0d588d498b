"""The two declarative bases. Separate metadata is what keeps the halves apart."""

from typing import Any, ClassVar, Final

from sqlalchemy import JSON, BigInteger, Integer, MetaData
from sqlalchemy.orm import DeclarativeBase

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

NUMBER: Final = BigInteger().with_variant(Integer, "sqlite")
"""A number that the database gives out, or refers to."""

IN_KEY_ORDER: Final = {"sqlite_with_rowid": False}
"""For every table whose primary key is no number: SQLite then keeps the rows in the order of their keys and
counts nothing. Its hidden row number would tell which keys came together, and which code before which."""


class IssuingBase(DeclarativeBase):
    """Officials, authorizations, codes, tokens: what happens before a phone holds a certificate."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {list[str]: JSON, dict[str, int]: JSON}


class CollectingBase(DeclarativeBase):
    """Diagnosis keys, batches, files: what happens once a phone presents a certificate."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {list[str]: JSON, dict[str, int]: JSON}
