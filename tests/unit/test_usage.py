"""Wrong usage of any command is one line that says what to look at; asking for help is not wrong."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from ee_spark.cli import extract, main
from ee_spark.dataproc.submit import main as submit


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        (main, ["nonsense"], "ee-spark: No such command 'nonsense'; see ee-spark --help"),
        (main, ["--nonsense"], "ee-spark: No such option '--nonsense'; see ee-spark --help"),
        (main, ["plan"], "ee-spark plan: Missing option '--config'; see ee-spark plan --help"),
        (main, ["emulator", "extra"], "ee-spark emulator: Got unexpected extra argument (extra); see"),
        (extract, ["--config", "j", "--progress", "loud"], "Invalid value for '--progress'"),
        (submit, ["--command", "rm -rf"], "Invalid value for '--command'"),
        (submit, ["--log-level", "x" * 1000], " … is not one of "),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(command: click.Command, words: list[str], said: str) -> None:
    done = CliRunner().invoke(command, words, prog_name="ee-spark" if command is main else None)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said.replace("'", "").replace(":", "") in done.stderr.replace("'", "").replace(":", "")
    assert len(done.stderr.splitlines()) == 1
    assert len(done.stderr) <= 300


def test_help_is_still_help() -> None:
    done = CliRunner().invoke(main, ["plan", "--help"], prog_name="ee-spark")
    assert done.exit_code == 0
    assert done.stdout.startswith("Usage: ee-spark plan [OPTIONS]")
    assert "Usage: ee-spark [OPTIONS] COMMAND" in CliRunner().invoke(main, [], prog_name="ee-spark").output
