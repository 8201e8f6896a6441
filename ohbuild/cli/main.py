"""The ``ohbuild`` command: what can be written on the command line, and how errors end it.

A command's function here is its signature and its help; what it does is in a module of ``ohbuild.cli``,
which is loaded when it is first used. So ``--help`` and shell completion answer at once.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

import ohbuild.cli as commands
from ohbuild.cli.flags import BUILDER, CONTENT, EXTENSION, option, takes
from ohbuild.errors import ExitCode, OhbuildError
from ohbuild.version import __version__

Flags = Mapping[str, Any]
Platform = Annotated[list[str] | None, option("platform")]
Json = Annotated[bool, option("json_")]

app = typer.Typer(
    help="Puts a complete AI-agent runtime into any container image, for any platform, with BuildKit.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
engine_app = typer.Typer(help="Your own Docker if it answers, or a private engine.", no_args_is_help=True)
app.add_typer(engine_app, name="engine")


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with every error.")] = False,
) -> None:
    if version:
        typer.echo(f"ohbuild {__version__}")
        raise typer.Exit


@app.command()
@takes("bases", CONTENT, EXTENSION, BUILDER, "folder config verify print_ json_")
def bake(flags: Flags, **more: Any) -> int:
    """Build deps, then a runtime image for each base (those of the settings if none is named).

    Without --push or --load: push if the image name has a registry, or the engine has one of its own; else load.
    """
    return commands.bake.run(flags, **more)


@app.command()
@takes(CONTENT, BUILDER, "folder config print_ json_")
def deps(flags: Flags, **more: Any) -> int:
    """Build the deps image: /openhands alone."""
    return commands.bake.run(flags, deps_only=True, **more)


@app.command()
@takes("bases", CONTENT, EXTENSION, "folder config")
def render(flags: Flags, **more: Any) -> None:
    """Write the folder that `bake` would build from, and build nothing.

    Then, in that folder: docker buildx bake
    """
    commands.bake.render(flags, **more)


@app.command("config")
@takes("config json_")
def config_(_: Flags, **more: Any) -> None:
    """Print every setting in force and where it came from."""
    commands.config.run(**more)


@app.command()
@takes("bases platform config json_")
def check(flags: Flags, **more: Any) -> int:
    """Check whether base images are usable (those of the settings if none is named), without pulling them.

    Exit code 0: all are usable. 2: some are not. 4: a registry did not respond, so there is no verdict.
    """
    return commands.check.run(flags, **more)


@app.command()
def verify(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Runtime images.")],
    platform: Platform = None,
    mode: Annotated[
        list[str] | None, typer.Option("--mode", metavar="MODE", help="Ways of starting, by comma or repeated, or all.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="How many images run at a time.")] = 2,
    local: Annotated[
        bool, typer.Option("--local", help="Take the copies in Docker's own store and ask no registry.")
    ] = False,
    json_: Json = False,
) -> int:
    """Start images and check the contract of a runtime image, point by point.

    Exit code 0: every point holds for every image. 1: one does not.
    In the table ✓ holds, ✗ does not (the reasons are below it), – does not apply.

    An image is what its registry has under the name; where no registry has it, the copy in Docker's own store.
    What had to be pulled is removed afterwards, containers always, on Ctrl-C too.

    The server has 180 s to answer, an action 120 s, 10 times that under emulation.

    Ways of starting (--mode):

    \b
    - default: as configured in the image: its USER, its command
    - numeric-user: with --user 12345, a UID without a passwd entry
    - read-only: with --read-only --tmpfs /tmp
    - no-capabilities: with --cap-drop ALL --security-opt no-new-privileges
    - openhands: with OpenHands' own command as root, for the user openhands (1000)
    - hostile-environment: with variables that break programs using them (LD_PRELOAD, PYTHONHOME, LC_ALL, …)
    """
    return commands.verify.run(images, platform or (), mode or (), jobs=jobs, local=local, json_=json_)


@app.command()
def audit(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE...", help="Images in a registry, or in the local Docker.")
    ],
    platform: Platform = None,
    json_: Json = False,
) -> int:
    """Tell whether anything below /openhands of an image reaches for something outside, is open or foreign.

    Layers are read without running or unpacking anything, for all platforms of an image if none is named.
    Exit code 0: nothing found. 1: findings.
    """
    return commands.audit.run(images, platform or (), json_=json_)


@app.command()
def components(json_: Json = False) -> None:
    """List components and builders, ohbuild's own and those of extensions, and which of these are broken.

    Exit code 0 also where some are broken: they are only left out. With --json, `ok` tells.
    """
    commands.components.run(json_=json_)


app.command("plugins", hidden=True)(components)  # its name before


@engine_app.command()
def up(json_: Json = False) -> None:
    """Use the Docker that answers, or make and start a private engine with a registry.

    The private engine is made from Debian packages (root on Debian or Ubuntu); OHBUILD_ENGINE=ohbuild makes it even
    where a Docker answers.
    """
    commands.engine.up(json_=json_)


@engine_app.command()
def down() -> None:
    """Stop the private engine; its images, cache and registry stay on the disk."""
    commands.engine.down()


@engine_app.command()
def remove() -> None:
    """Stop the private engine and delete it with its images, cache and registry."""
    commands.engine.remove()


@engine_app.command()
def env() -> None:
    """Print the variables for using the engine by hand: eval "$(ohbuild engine env)"."""
    commands.engine.env()


@engine_app.command()
def status(json_: Json = False) -> None:
    """Tell which engine is used, its versions, registry, disk use and seeded bases."""
    commands.engine.status(json_=json_)


@engine_app.command()
def seed(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Ordinary name of the base, such as debian:trixie.")],
    source: Annotated[
        Path | None, typer.Option("--from", metavar="ROOTFS", help="Root file system: a tar (may be gzip) or a folder.")
    ] = None,
    platform: Annotated[
        list[str] | None, typer.Option(help="Platforms; default: amd64 and arm64, or what --from holds.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Make it again if it exists.")] = False,
    json_: Json = False,
) -> None:
    """Put a base into the engine's registry, so that FROM NAME works without Docker Hub.

    A suite of Debian is bootstrapped from its packages; anything else is taken from a root file system.
    """
    commands.engine.seed(name, source, platform or (), force=force, json_=json_)


def _terminated(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None, *, command: typer.Typer = app, name: str = "ohbuild") -> None:
    """Run the command and exit with its code (``ohbuild.errors.ExitCode``).

    Args:
        command, name: another command with the same errors and exit codes, and what it is called in its help.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # --debug and --json count wherever they stand: they say how an error is shown, also one from parsing the rest.
    debug = "--debug" in words or os.environ.get("OHBUILD_DEBUG", "") not in ("", "0")
    words = [word for word in words if word != "--debug"]
    signal.signal(signal.SIGTERM, _terminated)
    gc.set_threshold(50_000, 20, 20)  # looking for garbage every 700 objects is a tenth of the CPU of a short run
    sys.exit(int(_run(words, command, name, debug=debug)))


def _run(words: list[str], command: typer.Typer, name: str, *, debug: bool) -> int:
    try:
        result = command(args=words, prog_name=name, standalone_mode=False)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 — so that the flush at exit does not fail again
        return ExitCode.OK
    except (Exception, KeyboardInterrupt) as error:
        return _show_error(error, debug=debug, json_="--json" in words)
    return result if isinstance(result, int) else ExitCode.OK


def _show_error(error: BaseException, *, debug: bool, json_: bool) -> int:
    """Prints what ended the command; returns the exit code."""
    # Usage errors of the command line parser know how to show themselves and which code they exit with.
    if hasattr(error, "show") and hasattr(error, "exit_code"):
        error.show()
        return int(error.exit_code)
    from ohbuild.cli.console import err

    if isinstance(error, KeyboardInterrupt | typer.Abort):
        err.print("stopped", style="yellow")
        return ExitCode.INTERRUPTED
    from rich.traceback import Traceback

    from ohbuild.cli import report

    if debug:
        err.print(Traceback())
    if not isinstance(error, OhbuildError):
        text = f"internal error: {type(error).__name__}: {error}"
        report.print_error(err, OhbuildError(text, "run it again with --debug and report what it shows"))
        return ExitCode.BUILD_FAILED
    report.print_error(err, error)
    if json_:
        typer.echo(report.dump({"ok": False, "error": report.error_data(error)}))
    return error.exit_code
