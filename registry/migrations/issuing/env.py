"""Alembic's entry point for this half."""

from alembic import context

from registry.migrations.environment import run

run(context.config)
