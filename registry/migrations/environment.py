"""Runs migrations on the engine that was handed over; both halves' env.py call this."""

from alembic import context
from alembic.config import Config
from sqlalchemy import Engine


def run(config: Config) -> None:
    """Run what Alembic asked for, in one transaction."""
    engine: Engine = config.attributes["engine"]
    with engine.connect().execution_options(registry_writes=True) as connection:
        context.configure(
            connection=connection,
            target_metadata=config.attributes["metadata"],
            render_as_batch=engine.dialect.name == "sqlite",
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
