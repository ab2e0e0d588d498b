"""The one database of a face. A face is handed exactly one half of the registry, or none.

An application that holds the issuing half has no connection through which it could read keys, and the
other way round.
"""

from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from registry.models import prepare_engine

CONNECTIONS = 10
"""Of each process to the database of each face: PostgreSQL does no more at once than it has cores for."""

db = SQLAlchemy(disable_autonaming=True)


def attach(app: Flask, url: str) -> None:
    """Connect `app` to the database at `url`; sessions end with each request."""
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(url)
    db.init_app(app)
    with app.app_context():
        prepare_engine(db.engine)


def engine_options(url: str) -> dict[str, Any]:
    """How a face connects to the database at `url`."""
    options: dict[str, Any] = {"hide_parameters": True}
    if not url.startswith("sqlite"):
        # Thousands of callers take turns with these. None is opened and closed again for a single request.
        options |= {"pool_pre_ping": True, "pool_size": CONNECTIONS, "max_overflow": 0}
    return options
