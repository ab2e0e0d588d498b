"""How a command tells a fault: one line that says what to do, never a traceback that could quote a row."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import click
from sqlalchemy.exc import SQLAlchemyError

from registry.errors import RegistryError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def told_plainly(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Turn the faults that an operator can mend into click's one line and status 1."""

    @wraps(command)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return command(*args, **kwargs)
        except RegistryError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            raise click.ClickException(f"{error.filename or 'input or output'}: {error.strerror}") from error
        except SQLAlchemyError as error:
            kind = type(error).__qualname__
            raise click.ClickException(
                f"the database cannot be used ({kind}): is this a registry's folder, and is the database up?"
            ) from error

    return wrapped
