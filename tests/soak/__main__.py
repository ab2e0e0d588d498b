"""`python -m tests.soak`: runs the campaigns that this round lacks, and tells the last figures of all.

Ctrl-C loses the slice that runs; the next call goes on behind it. Ends with status 1 if anything failed.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.readme_section import README, write_section
from tests.soak import alike, counting, kills, log_faults, suites
from tests.soak.campaigns import Campaign, run_round, run_slice
from tests.soak.record import Failure, Logbook, Record, as_markdown, figures

BUILD = Path(__file__).parents[2] / "build"
CAMPAIGNS: dict[str, Campaign] = {
    one.name: one
    for one in (
        *kills.CAMPAIGNS,
        *log_faults.CAMPAIGNS,
        *counting.CAMPAIGNS,
        *alike.CAMPAIGNS,
        *suites.CAMPAIGNS,
    )
}
UNITS = {campaign.name: campaign.unit for campaign in CAMPAIGNS.values()}


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(CAMPAIGNS)), help="Only this campaign.")
@click.option("--seed", type=int, help="With --only: one slice from this seed again, and record nothing.")
@click.option("--write-readme", is_flag=True, help="Write the last figures into README.md.")
def main(only: Sequence[str], seed: int | None, write_readme: bool) -> None:
    """Run the long campaigns, or go on with those that were interrupted."""
    console = Console()
    chosen = [CAMPAIGNS[name] for name in only or CAMPAIGNS]
    if seed is not None:
        if len(chosen) != 1:
            raise click.UsageError("--seed needs one --only")
        sys.exit(_again(console, chosen[0], seed))
    logbook = Logbook(BUILD / "soak.json")
    all_well = _run(console, chosen, logbook)
    table = Table("campaign", "size", "failures", "seconds", "day (UTC)")
    for cells in figures(logbook.records, UNITS):
        table.add_row(*cells)
    console.print(table)
    if write_readme:
        write_section(README, "soak", as_markdown(logbook.records, UNITS))
    sys.exit(0 if all_well else 1)


def _run(console: Console, chosen: Sequence[Campaign], logbook: Logbook) -> bool:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bars = {one.name: progress.add_task(one.name, total=one.slices) for one in chosen}

        def on_slice(campaign: Campaign, record: Record, failures: Sequence[Failure]) -> None:
            progress.update(bars[campaign.name], completed=record.slices_done)
            reached = f"{record.done:,} {campaign.unit}, {len(record.failures)} failures"
            console.print(f"{campaign.name}: {reached}", highlight=False)
            for failure in failures:
                _tell(console, campaign.name, failure)

        return run_round(chosen, logbook, BUILD / "soak", on_slice=on_slice)


def _again(console: Console, campaign: Campaign, seed: int) -> int:
    found, failures = run_slice(campaign, seed, BUILD / "soak")
    for failure in failures:
        _tell(console, campaign.name, failure)
    console.print(
        f"{campaign.name} from seed {seed}: {found.done:,} {campaign.unit}, {len(failures)} failures"
    )
    return 1 if failures else 0


def _tell(console: Console, name: str, failure: Failure) -> None:
    console.print(f"[red]{name} failed[/red]; log: {failure.log}", highlight=False)
    console.print(failure.what, markup=False, highlight=False)
    console.print(f"  again: python -m tests.soak --only {name} --seed {failure.seed}", highlight=False)


if __name__ == "__main__":
    main()
