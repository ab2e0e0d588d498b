"""`python -m tests.bench`: measures, prints each row as soon as it is known, keeps it in bench.json.

A target that is missed is said in the table and in bench.json, not by the exit status.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.bench import (
    compact_files,
    export_files,
    log,
    matching,
    polling,
    publisher_growth,
    publishing,
    retiring,
    uploads,
)
from tests.bench.measure import (
    HOLDS,
    MISSED,
    Measurement,
    Row,
    as_markdown,
    measure,
    merge,
    readable,
    stored,
)
from tests.readme_section import README, write_section

MEASUREMENTS: tuple[Measurement, ...] = (
    *export_files.MEASUREMENTS,
    *compact_files.MEASUREMENTS,
    *matching.MEASUREMENTS,
    *uploads.MEASUREMENTS,
    *publishing.MEASUREMENTS,
    *retiring.MEASUREMENTS,
    *publisher_growth.MEASUREMENTS,
    *polling.MEASUREMENTS,
    *log.MEASUREMENTS,
)
TABLE_WIDTH = 108


@click.command()
@click.option("--full", is_flag=True, help="Also what takes over half a minute a row.")
@click.option("--only", multiple=True, metavar="NAME", help="Only the row of this name. May be repeated.")
@click.option("--write-readme", is_flag=True, help="Write all rows that bench.json holds into README.md.")
def main(full: bool, only: Sequence[str], write_readme: bool) -> None:
    """Measure the registry, each figure beside its limit in the same run."""
    unknown = set(only) - {measurement.name for measurement in MEASUREMENTS}
    if unknown:
        raise click.BadParameter(f"no such row: {', '.join(sorted(unknown))}", param_hint="--only")
    chosen = [m for m in MEASUREMENTS if (m.name in only if only else full or not m.full)]
    path = Path(os.environ.get("REGISTRY_DATA_DIR") or "var") / "bench.json"
    _measure_all(chosen, path)
    if write_readme:
        write_section(README, "bench", as_markdown(stored(path)))


def _measure_all(chosen: Sequence[Measurement], path: Path) -> None:
    console = Console()
    # Off a terminal the width is unknown and taken for 80 columns; a row is wider than that.
    console.width = max(console.width, TABLE_WIDTH)
    rows: list[Row] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=2 * sum(m.runs for m in chosen))
        for measurement in chosen:
            progress.update(task, description=measurement.name)
            row = measure(measurement, lambda: progress.advance(task))
            # Kept at once: an interrupted run leaves what it has measured.
            merge(path, [row])
            console.print(_table(row, show_header=not rows))
            console.print(f"  [dim]against {row.against}[/dim]")
            rows.append(row)
    missed = [f"{row.name} ({row.verdict})" for row in rows if row.verdict != HOLDS]
    console.print(f"\nKept in {path}. " + (f"Missed: {', '.join(missed)}" if missed else "All targets hold."))


def _table(row: Row, *, show_header: bool) -> Table:
    """One row of the table, its columns as wide as those of the next."""
    table = Table(show_header=show_header, box=None, pad_edge=False)
    table.add_column("measured", width=40, overflow="fold")
    for title, width in (("figure", 20), ("limit", 12), ("ratio", 9), ("target", 9), ("holds", 11)):
        table.add_column(title, width=width, justify="right")
    figure = f"{readable(row.value)} {row.unit}"
    style = {HOLDS: "green", MISSED: "bold red"}.get(row.verdict, "yellow")
    holds = f"[{style}]{row.verdict}[/{style}]"
    table.add_row(row.name, figure, readable(row.limit), f"{row.ratio:.3g}", f"{row.target:.3g}", holds)
    return table


if __name__ == "__main__":
    main()
