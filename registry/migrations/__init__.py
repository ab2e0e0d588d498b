"""Schema versions of the two databases, by Alembic: a folder a half."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, MetaData

from registry.models import CollectingBase, IssuingBase

METADATA: dict[str, MetaData] = {"issuing": IssuingBase.metadata, "collecting": CollectingBase.metadata}


def configuration(half: str, engine: Engine) -> Config:
    """Alembic's configuration for `half` (`issuing` or `collecting`) on `engine`."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / half))
    config.attributes["engine"] = engine
    config.attributes["metadata"] = METADATA[half]
    return config


def upgrade(half: str, engine: Engine) -> None:
    """Bring the schema of `half` up to date, in one transaction; nothing happens if it already is."""
    command.upgrade(configuration(half, engine), "head")
