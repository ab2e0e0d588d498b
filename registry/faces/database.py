"""The one database of a face. A face is handed exactly one half of the registry, or none.

An application that holds the issuing half has no connection through which it could read keys, and the
other way round.
"""

from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from registry.models import prepare_engine

db = SQLAlchemy(disable_autonaming=True)


def attach(app: Flask, url: str) -> None:
    """Connect `app` to the database at `url`; sessions end with each request."""
    app.config["SQLALCHEMY_DATABASE_URI"] = url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {
        "pool_pre_ping": not url.startswith("sqlite"),
        "hide_parameters": True,
    }
    db.init_app(app)
    with app.app_context():
        prepare_engine(db.engine)
