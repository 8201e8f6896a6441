"""How an error ends the command: what is printed, and the exit code."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from typing import Any

import typer
from rich.traceback import Traceback

from ohbuild.cli import ci, github, report, summary
from ohbuild.cli.console import err
from ohbuild.cli.streams import say
from ohbuild.errors import ExitCode, Interrupted, OhbuildError, UsageError


def show_error(error: BaseException, *, debug: bool, json_: bool) -> int:
    """Prints the error that ended the command, and returns the exit code.

    Args:
        error: The error.
        debug: Whether a traceback is printed too.
        json_: Whether the error is also printed as JSON on standard output, where the result would have been.
    """
    partial: Mapping[str, Any] = {}
    if isinstance(error, report.Partial):
        partial, error = error.data, error.error
    known = _known(error)
    if json_:  # first, as a failure to show the rest must not prevent it
        say(report.dump({**report.failure_data(known), **partial}))
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        err.print("stopped", style="yellow")
        return known.exit_code
    if hasattr(error, "show"):
        _show_usage_error(error)
        return known.exit_code
    if debug:
        with ci.literal():
            err.print(Traceback.from_exception(type(error), error, error.__traceback__))
    report.print_error(err, known)
    if not isinstance(error, Interrupted):  # the run was cancelled, which GitHub shows itself
        ci.annotate(github.of_error(known))
        ci.summarize(summary.of_failure(report.error_data(known)))
    return known.exit_code


def _known(error: BaseException) -> OhbuildError:
    """Returns any error as one of ours."""
    if isinstance(error, OhbuildError):
        return error
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return Interrupted("stopped")
    if hasattr(error, "show") and hasattr(error, "format_message"):  # the parser's own usage errors
        context = getattr(error, "ctx", None)
        made = UsageError(error.format_message(), f"see `{context.command_path} --help`" if context else "")
        made.exit_code = ExitCode(getattr(error, "exit_code", ExitCode.USAGE))
        return made
    if isinstance(error, UnicodeEncodeError) and error.encoding == sys.getfilesystemencoding():
        return UsageError(
            f"{error.object!r} cannot name a file: the locale's encoding is {error.encoding}",
            "set LC_ALL=C.UTF-8, or use a name in ASCII",
        )
    text = f"internal error: {type(error).__name__}: {error}"
    return OhbuildError(text, "run the command again with --debug and report its output")


def _show_usage_error(error: Any) -> None:
    text = io.StringIO()
    error.show(file=text)  # what it prints to standard error itself loses what cannot be encoded
    with ci.literal():
        sys.stderr.write(text.getvalue())
    ci.annotate([github.Annotation(title="ohbuild", message=error.format_message())])
