"""What a rehearsal saw, for an operator: who reads which file, and in whose words the others were refused."""

from rich.console import Console
from rich.table import Table

from registry.cli.rehearsal import Reading, Rehearsal, Scene

NUMBERS = {scene: number for number, scene in enumerate(Scene, start=1)}


def tell_rehearsal(rehearsal: Rehearsal, console: Console) -> None:
    """Keys, files, the table, the refusals, the verdict."""
    lines = [f"{check.name} {check.word}." for check in rehearsal.keys]
    lines += ["Files of the rehearsal:", *(f"  {NUMBERS[scene]}  {scene.value}" for scene in Scene)]
    _say(console, lines)
    console.print(_table(rehearsal))
    _say(
        console,
        [
            f"{reading.client}, file {NUMBERS[reading.scene]}: {reading.refusal}"
            for reading in rehearsal.readings
            if reading.refusal is not None
        ],
    )
    verdict = (
        "Safe: whoever must read a file reads it, and nobody believes a key that has ended."
        if rehearsal.safe
        else "NOT SAFE: see what is marked with an exclamation mark. Nothing was changed."
    )
    _say(console, [verdict])


def _say(console: Console, lines: list[str]) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(rehearsal: Rehearsal) -> Table:
    table = Table("who reads file", *map(str, NUMBERS.values()))
    for client in dict.fromkeys(reading.client for reading in rehearsal.readings):
        cells = {reading.scene: _cell(reading) for reading in rehearsal.readings if reading.client == client}
        table.add_row(client, *(cells.get(scene, "") for scene in Scene))
    return table


def _cell(reading: Reading) -> str:
    word = "yes" if reading.reads else "no"
    return word if reading.good else f"{word.upper()}!"
