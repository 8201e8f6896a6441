"""The ``ohbuild`` command: its command line, and how errors end it.

A function here is a command's signature and help. The code behind it is in another module of ``ohbuild.cli``, which is
imported on first use, so that ``--help`` and shell completion respond immediately.
"""

from __future__ import annotations

import functools
import gc
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

import ohbuild.cli as commands
from ohbuild.cli.flags import BUILDER, CONTENT, EXTENSION, option, takes
from ohbuild.cli.streams import make_safe
from ohbuild.errors import ExitCode
from ohbuild.signals import signals_interrupt
from ohbuild.version import __version__

Flags = Mapping[str, Any]
Json = Annotated[bool, option("json_")]

app = typer.Typer(
    help="Puts a complete AI-agent runtime into any container image, for any platform, with BuildKit.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
engine_app = typer.Typer(help="Manage the private engine, for machines without Docker.", no_args_is_help=True)
app.add_typer(engine_app, name="engine")


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with every error.")] = False,
) -> None:
    """Handles the options before the command; ``main`` handles ``--debug``."""
    if version:
        print(f"ohbuild {__version__}")
        raise typer.Exit


@app.command()
@takes("bases", CONTENT, EXTENSION, BUILDER, "folder bases_file config verify print_ json_")
def bake(flags: Flags, **more: Any) -> int:
    """Build the deps image and a runtime image for each base.

    By default, images are pushed if --image names a registry, or if it is not
    given and the engine has a registry. Otherwise they are loaded into Docker.
    """
    return commands.bake.run(flags, **more)


@app.command()
@takes(CONTENT, BUILDER, "folder config components_only print_ json_")
def deps(flags: Flags, **more: Any) -> int:
    """Build only the deps image, which holds /openhands and nothing else."""
    return commands.bake.run(flags, deps_only=True, **more)


@app.command()
@takes("bases", CONTENT, EXTENSION, "folder bases_file config")
def render(flags: Flags, **more: Any) -> None:
    """Write the files that `bake` builds from, without building.

    To build from them, run `docker buildx bake` in the directory that is printed.
    """
    commands.bake.render(flags, **more)


@app.command()
@takes("bases", CONTENT, "builder for_ runner groups bases_file config")
def matrix(flags: Flags, **more: Any) -> None:
    """Print the jobs of a GitHub Actions workflow, as the JSON of strategy.matrix.

    In GitHub Actions, also set the outputs `matrix` and `empty` (true or false)
    of the step. GitHub does not accept an empty matrix, so skip the jobs then.
    At most 256 jobs are printed, which is GitHub's limit.

    --for components: a job for each missing component image, with `component`,
    `platform`, `runner` and `image`. Each runs `ohbuild deps --components-only`
    for its component and platform. Only registries are queried.
    Exit code 4: a registry did not respond.

    --for runtimes: a job for each group of bases, with `group`, `bases` and
    `images`. Each runs `ohbuild bake` for its bases; `images` are their tags.
    """
    commands.matrix.run(flags, **more)


@app.command("config")
@takes("config json_")
def config_(_: Flags, **more: Any) -> None:
    """Show every setting, its value and where the value came from."""
    commands.config.run(**more)


@app.command()
@takes("bases platform bases_file config json_")
def check(flags: Flags, **more: Any) -> int:
    """Check whether base images are usable, without pulling them.

    Exit code 0: all are usable. 2: some are not.
    4: a registry did not respond, so there is no verdict.
    """
    return commands.check.run(flags, **more)


@app.command()
def verify(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE", help="Runtime images.")],
    platform: Annotated[
        list[str] | None, option("platform", about="Platforms to verify; by default the engine's own.")
    ] = None,
    mode: Annotated[
        list[str] | None,
        typer.Option("--mode", metavar="MODE,...", help="Ways to start the images (see above), or all."),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Number of images to run at the same time.")] = 2,
    local: Annotated[
        bool, typer.Option("--local", help="Use the copies in Docker's own store; contact no registry.")
    ] = False,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Skip images that do not exist, or not for a platform.")
    ] = False,
    json_: Json = False,
) -> int:
    """Start runtime images and check their contract, point by point.

    Exit code 0: every point holds for every image. 1: some do not.

    In the table, ✓ holds, ✗ fails (reasons follow the table), – does not apply.

    Images come from their registry, or from Docker's own store if no registry
    has them. Containers are always removed afterwards, and so are images that
    had to be pulled, even after Ctrl-C.

    Time limits: 180 s for the server to respond, 120 s for an action,
    10 times as long under emulation.

    Ways to start an image (--mode):

    \b
    - default: as configured in the image: its USER, its command
    - numeric-user: with --user 12345, a UID without a passwd entry
    - read-only: with --read-only --tmpfs /tmp
    - no-capabilities: with --cap-drop ALL --security-opt no-new-privileges
    - docker-runtime: as the agent-server's Docker runtime starts it: UID, no capabilities, limits
    - openhands: with the command of OpenHands 1.6.0 as root, for the user openhands (1000)
    - hostile-environment: with variables that break programs using them (LD_PRELOAD, PYTHONHOME, LC_ALL, …)
    """  # noqa: D301 — Click's mark against rewrapping is this character
    return commands.verify.run(
        images, platform or (), mode or (), jobs=jobs, local=local, skip_missing=skip_missing, json_=json_
    )


@app.command()
def audit(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE", help="Images in a registry or in Docker's own store.")
    ],
    platform: Annotated[
        list[str] | None, option("platform", about="Platforms to audit; by default all of each image.")
    ] = None,
    json_: Json = False,
) -> int:
    """Find files below /openhands that point outside it, are writable by others or do not belong there.

    Reads the layers of images without unpacking or running them.

    Exit code 0: no findings. 1: findings.
    """
    return commands.audit.run(images, platform or (), json_=json_)


@app.command()
def components(json_: Json = False) -> None:
    """List components and builders, including those of extensions, and report broken ones.

    Broken ones are left out and do not change the exit code.
    With --json, `ok` is then false.
    """
    commands.components.run(json_=json_)


app.command("plugins", hidden=True)(components)  # its former name


@engine_app.command()
def up(json_: Json = False) -> None:
    """Use a running Docker, or start a private engine with a registry.

    The private engine is installed from Debian packages, which requires root on
    Debian or Ubuntu. OHBUILD_ENGINE=ohbuild starts it even if Docker is running.
    """
    commands.engine.up(json_=json_)


@engine_app.command()
def down() -> None:
    """Stop the private engine; its images, cache and registry stay on disk."""
    commands.engine.down()


@engine_app.command()
def remove() -> None:
    """Stop the private engine and delete its images, cache and registry."""
    commands.engine.remove()


@engine_app.command()
def env() -> None:
    """Print shell commands that set the variables for using the engine: eval "$(ohbuild engine env)"."""
    commands.engine.env()


@engine_app.command()
def status(json_: Json = False) -> None:
    """Show which engine is used, its versions, registry, disk usage and seeded bases.

    Notes name what is wrong, such as a nearly full disk, and how to fix it.
    """
    commands.engine.status(json_=json_)


@engine_app.command()
def prune(
    yes: Annotated[bool, typer.Option("--yes", "-y", "--force", "-f", help="Do not ask for confirmation.")] = False,
    json_: Json = False,
) -> None:
    """Free disk space: delete everything in the private engine that no tag needs.

    These are images without a name, unused build cache, containers that an
    interrupted `ohbuild verify` left behind, and images in the registry that no
    tag needs. The registry stops meanwhile, so do not build at the same time.
    """
    commands.engine.prune(yes=yes, json_=json_)


@engine_app.command()
def seed(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the base, such as debian:trixie.")],
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="ROOTFS", help="Root file system: a directory, or a tar archive (also gzipped)."
        ),
    ] = None,
    platform: Annotated[
        list[str] | None, option("platform", about="Platforms to seed; by default amd64 and arm64, or that of --from.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Seed the base again if it exists.")] = False,
    json_: Json = False,
) -> None:
    """Put a base into the engine's registry, so that FROM NAME works without Docker Hub.

    Debian suites are bootstrapped from their packages; any other base is made
    from a root file system.
    """
    commands.engine.seed(name, source, platform or (), force=force, json_=json_)


def main(arguments: list[str] | None = None, *, command: typer.Typer = app, name: str = "ohbuild") -> None:
    """Runs the command and exits with its code (``ohbuild.errors.ExitCode``).

    Args:
        arguments: Command line; by default that of the process.
        command: Another command, with the same errors and exit codes.
        name: The command's name in its help.
    """
    make_safe()
    words = list(sys.argv[1:] if arguments is None else arguments)
    # --debug and --json count wherever they are: they decide how an error is shown, even one in the rest of the line.
    debug = "--debug" in words or os.environ.get("OHBUILD_DEBUG", "") not in ("", "0")
    words = [word for word in words if word != "--debug"]
    gc.set_threshold(50_000, 20, 20)  # the default of 700 objects costs a short run a tenth of its CPU time
    with signals_interrupt():
        code = int(_run(words, command, name, debug=debug))
    sys.exit(code)


@functools.cache
def typer_command(command: typer.Typer) -> Callable[..., Any]:
    """Returns the command that Typer makes of the functions, made once in a process."""
    return typer.main.get_command(command)


def _run(words: list[str], command: typer.Typer, name: str, *, debug: bool) -> int:
    try:
        try:
            result = typer_command(command)(args=words, prog_name=name, standalone_mode=False)
            if result == ExitCode.INTERRUPTED:  # what Typer makes of a KeyboardInterrupt
                raise KeyboardInterrupt
        except BrokenPipeError:
            raise
        except (Exception, KeyboardInterrupt) as error:
            if type(error).__name__ == "NoArgsIsHelpError":  # the help is not an error
                error.show()  # type: ignore[union-attr]
                return ExitCode.USAGE
            from ohbuild.cli.ending import show_error  # loads too much for `--help`

            options = words[: words.index("--")] if "--" in words else words
            result = show_error(error, debug=debug, json_="--json" in options)
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 — the flush at exit must not fail again
        return ExitCode.OK
    return result if isinstance(result, int) else ExitCode.OK
