"""Figures in README.md: they are written by the commands that measure them, between two markers."""

from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def write_section(readme: Path, name: str, text: str) -> None:
    """Put `text` between `<!-- name:begin -->` and `<!-- name:end -->` in place of what stands there.

    Raises ValueError if the markers are missing, double or the wrong way round; then nothing is written.
    """
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    whole = readme.read_text()
    if whole.count(begin) != 1 or whole.count(end) != 1 or whole.index(end) < whole.index(begin):
        raise ValueError(f"{readme} must hold the lines {begin.strip()} and {end}, once each, in this order")
    before, rest = whole.split(begin)
    after = rest.split(end)[1]
    readme.write_text(f"{before}{begin}{text.rstrip()}\n{end}{after}")
