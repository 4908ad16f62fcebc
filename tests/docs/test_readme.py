"""What README.md shows is run, and what it links to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from places import REPO

PAGES = sorted([*REPO.glob("*.md"), *REPO.glob("docs/**/*.md"), *REPO.glob("benchmarks/*.md")])


def anchors(page: Path) -> set[str]:
    """Return the anchors that a Markdown renderer makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            assert re.fullmatch(r"https://[\w.-]+\.\w+(/\S*)?", target), target
            continue
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(linked), f"{page.name} links to {target}"


def test_the_first_screen_has_the_two_commands() -> None:
    first = (REPO / "README.md").read_text().splitlines()[:20]
    assert any(line.startswith("make quickstart") for line in first)
    assert any(line.startswith("make test") for line in first)


def test_every_command_of_the_table_is_there() -> None:
    from ee_spark.cli import main

    for command in re.findall(r"^\| `ee-spark (\w+)", (REPO / "README.md").read_text(), re.M):
        assert command in main.commands, command
