"""What the commands of `registry phone` are handed, and their errors in one line each."""

import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from registry.client import HttpTransport, Phone, Transport
from registry.client.texts import LANGUAGES, PHONE_TEXTS, Language, printable
from registry.errors import RegistryError
from registry.protocol.intervals import Clock


class Surroundings:
    """What the commands are handed: store, language and, replaceable by tests, transport and clock."""

    def __init__(
        self,
        transport: Transport | None = None,
        clock: Clock = time.time,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.transport = transport or HttpTransport()
        self.clock = clock
        self.random_bytes = random_bytes
        self.store = Path("phone.db")
        self.language: Language = "en"

    @property
    def texts(self) -> Mapping[str, str]:
        """What commands say, in the language asked for."""
        return PHONE_TEXTS[self.language]

    @contextmanager
    def open(self, *, may_create: bool = False) -> Iterator[Phone]:
        """The phone, and its errors in one line each. Of a mistyped name no new phone is made."""
        if not may_create and not self.store.exists():
            raise click.ClickException(
                f"there is no phone in {self.store}: name its file with --store, or make one with `init`"
            )
        try:
            with Phone.open(
                self.store, self.transport, clock=self.clock, random_bytes=self.random_bytes
            ) as phone:
                yield phone
        except BrokenPipeError:
            raise  # whoever reads the output has enough: no fault of the store's
        except OSError as error:
            raise click.ClickException(f"{self.store}: {error.strerror}") from error
        except sqlite3.Error as error:
            raise click.ClickException(f"{self.store}: {error}") from error
        except RegistryError as error:
            raise click.ClickException(printable(str(error), longest=4_000)) from error


with_surroundings = click.make_pass_decorator(Surroundings)

language_option = click.option("--lang", "language", type=click.Choice(LANGUAGES), help="Language.")
