"""Commands that tell wrong usage as all else that is wrong: in one line, which ends in the way out, and exit 2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from ee_spark.boundary import cut
from ee_spark.errors import one_line

_ASKED: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""Whoever writes nothing asks what there is; click tells so by an error from 8.2 on."""


class Usage(click.ClickException):
    """Wrong usage, as one line."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """Write the line on standard error."""
        click.echo(cut(self.format_message()), file=file, err=file is None)


class Command(click.Command):
    """A command whose usage errors are one line."""

    def make_context(self, *args: Any, **given: Any) -> click.Context:
        """Return the context of a call: here the words are read."""
        with _in_one_line():
            return super().make_context(*args, **given)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and read the words of those below it."""
        with _in_one_line():
            return super().invoke(ctx)


class Group(Command, click.Group):
    """A command with commands below it, of whatever class they are."""

    command_class = Command


@contextmanager
def _in_one_line() -> Iterator[None]:
    try:
        yield
    except _ASKED:
        raise
    except click.UsageError as error:
        what = one_line(error.format_message(), None).removesuffix(".")
        path = error.ctx.command_path if error.ctx else ""
        raise Usage(f"{path}: {what}; see {path} --help" if path else what) from None
