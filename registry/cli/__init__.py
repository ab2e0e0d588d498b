"""The `registry` command. Each part is loaded when it is called, so that a phone loads no server."""

from importlib import import_module

import click

PARTS = {
    "run": "registry.cli.run:run",
    "publish": "registry.cli.operator:publish",
    "retire": "registry.cli.operator:retire",
    "withdraw": "registry.cli.operator:withdraw",
    "recall": "registry.cli.recalls:recall",
    "official": "registry.cli.operator:official",
    "auditor": "registry.cli.operator:auditor",
    "why": "registry.cli.inspection:why",
    "republish": "registry.cli.inspection:republish",
    "keys": "registry.cli.keys:keys",
    "apikey": "registry.cli.api_keys:apikey",
    "authority": "registry.cli.authorities:authority",
    "feed": "registry.cli.feeds:feed",
    "phone": "registry.cli.phone:phone",
    "audit": "registry.cli.auditor:audit",
    "witness": "registry.cli.witness:witness",
}


class Parts(click.Group):
    """Commands by name, imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of a registry's day."""
        return list(PARTS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command called `cmd_name`, or none."""
        if cmd_name not in PARTS:
            return None
        module, _, name = PARTS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command


@click.group(cls=Parts, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="positive-key-registry")
def main() -> None:
    """The positive-key registry: run one, publish, keep its keys, or be a phone."""
