"""`registry phone init`: which registry a phone belongs to, and whose root key it pins.

The API key is read from a file, never from an argument, and never printed.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import click

from registry.cli.phone_report import show_fingerprint, show_key_change
from registry.cli.phone_surroundings import Surroundings, with_surroundings
from registry.client import Enrolment
from registry.client.texts import CARD_TEXTS
from registry.errors import Malformed
from registry.protocol.encoding import decode_json_object


@click.command()
@click.argument("base_url")
@click.option("--region", help="Region, e.g. XA. Not needed if the registry has only one.")
@click.option(
    "--api-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A registry's first-run.json, or a file with nothing but the device API key. Needed for uploads.",
)
@click.option("--health-authority", help="Health authority ID for uploads, if the file does not name it.")
@click.option("--device-url", help="Where uploads go, if not to BASE_URL.")
@click.option("--demo", is_flag=True, help="Accept a demonstration registry: not for real people.")
@click.option("--staged", is_flag=True, help="Make 14 days of past keys, in a demonstration only.")
@click.option("--fingerprint", help="The registry's fingerprint, as the health authority gives it out.")
@with_surroundings
def init(
    surroundings: Surroundings,
    base_url: str,
    region: str | None,
    api_key_file: Path | None,
    health_authority: str | None,
    device_url: str | None,
    demo: bool,
    staged: bool,
    fingerprint: str | None,
) -> None:
    """Set the phone up with the registry at BASE_URL, and pin its root key.

    The key's fingerprint is compared with --fingerprint, or shown, and the person asked. Run it again with
    the same address to renew the API key or to pin another root key; what is not said stays as it was.
    """
    texts = surroundings.texts
    api_key, authority_in_file, region_in_file = _read_api_key(api_key_file)
    with surroundings.open(may_create=True) as opened:
        result = opened.set_up(
            Enrolment(
                base_url=base_url,
                region=region or region_in_file,
                device_url=device_url,
                health_authority_id=health_authority or authority_in_file,
                device_api_key=api_key,
                demonstration=demo,
                staged=staged,
                fingerprint=fingerprint,
            ),
            confirm=partial(_ask_whether_same, texts),
        )
        registration = opened.store.registration()
        click.echo(texts["belongs"].format(address=registration.base_url, region=registration.region))
        show_fingerprint(result, texts)
        if result.change and (result.change.added or result.change.removed):
            show_key_change(result.change, texts)
        if registration.demonstration:
            click.echo(CARD_TEXTS[surroundings.language]["demonstration"])
        if registration.staged:
            click.echo(texts["staged"])


def _ask_whether_same(texts: Mapping[str, str], shown: str) -> bool | None:
    """What the person says of the fingerprint; None if standard input is at its end."""
    click.echo(texts["fingerprint"].format(fingerprint=shown))
    click.echo(texts["compare"])
    try:
        return click.confirm(texts["same"], default=False)
    except click.Abort as abort:
        # Ctrl-C ends as an Abort too, and is no answer.
        if isinstance(abort.__context__, EOFError):
            click.echo()
            return None
        raise


def _read_api_key(path: Path | None) -> tuple[str | None, str | None, str | None]:
    """(device API key, health authority ID, region) of a first-run.json; of another file the key alone."""
    if path is None:
        return None, None, None
    try:
        text = path.read_text(encoding="utf-8").strip()
        if text.startswith("{"):
            document = decode_json_object(text.encode(), path.name)
            names = ("device_api_key", "health_authority_id", "region")
            api_key, authority, region = (document.text(name) for name in names)
            return api_key, authority, region
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{path} is not UTF-8 text: it holds no API key") from error
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from error
    except Malformed as error:
        raise click.ClickException(f"{path}: {error}") from error
    if len(text.split()) != 1 or not text.isascii() or not text.isprintable():
        raise click.ClickException(f"{path} holds neither a first-run.json nor one API key")
    return text, None, None
