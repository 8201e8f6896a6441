"""The ``ohbuild`` command: parses and prints, nothing else."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.traceback import Traceback

from ohbuild import __version__, report
from ohbuild.commands.audit import audit_
from ohbuild.commands.check import check_
from ohbuild.commands.console import BasesArgument as Bases
from ohbuild.commands.console import ConfigOption as Config
from ohbuild.commands.console import JsonOption as Json
from ohbuild.commands.console import PlatformOption as Platform
from ohbuild.commands.console import err, new_table, note, out, plain
from ohbuild.commands.plugins import plugins_
from ohbuild.commands.verify import all_ok, verify_, verify_results
from ohbuild.engine.commands import app as engine_app
from ohbuild.errors import ExitCode, OhbuildError, UsageError
from ohbuild.job import Job, prepare
from ohbuild.settings import Settings, load, load_for_bases
from ohbuild.verify import show

app = typer.Typer(
    help="Puts a complete AI-agent runtime into any container image, for any platform, with BuildKit.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(engine_app, name="engine")
app.command("audit")(audit_)
app.command("check")(check_)
app.command("plugins")(plugins_)
app.command("verify")(verify_)

Push = Annotated[bool, typer.Option("--push", help="Push the images to their registry.")]
Load = Annotated[bool, typer.Option("--load", help="Load the images into Docker.")]
Image = Annotated[str | None, typer.Option("--image", help="Repository of the runtime images.")]
Component = Annotated[list[str] | None, typer.Option("--component", help="Components, by comma or repeated; else all.")]
Plugin = Annotated[
    list[str] | None,
    typer.Option("--plugin", help="OpenHands' plug-ins that the images are for: agent_skills, jupyter, vscode, …"),
]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Leave the browser out.")]
BuildArg = Annotated[
    list[str] | None, typer.Option("--build-arg", metavar="NAME=VALUE", help="A component's build argument, repeated.")
]
ExtraDeps = Annotated[
    str | None,
    typer.Option("--extra-deps", metavar="COMMANDS", help="Shell commands to run as root in the bases, last."),
]
SystemPackages = Annotated[
    list[str] | None,
    typer.Option("--system-packages", help="Packages to install into the bases, by comma."),
]
DepsImage = Annotated[str | None, typer.Option("--deps-image", help="Use this deps image instead of building one.")]
Builder = Annotated[str | None, typer.Option("--builder", help="The buildx builder to use.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Build all components again, even those that exist.")]
CacheTo = Annotated[
    str | None, typer.Option("--cache-to", help="Registry reference to write the build cache to, or off.")
]
CacheFrom = Annotated[
    list[str] | None, typer.Option("--cache-from", help="Registry references to read the build cache from, or off.")
]
Folder = Annotated[Path | None, typer.Option("--folder", help="Where the generated files go (.ohbuild).")]
Verify = Annotated[bool, typer.Option("--verify", help="Then start the images and check them, as `ohbuild verify`.")]
Print = Annotated[bool, typer.Option("--print", help="Print the bake file that would run (with --json as JSON).")]


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with every error.")] = False,
) -> None:
    if version:
        typer.echo(f"ohbuild {__version__}")
        raise typer.Exit


@app.command()
def deps(
    platform: Platform = None,
    push: Push = False,
    load_: Load = False,
    image: Image = None,
    component: Component = None,
    plugin: Plugin = None,
    no_browser: NoBrowser = False,
    build_arg: BuildArg = None,
    builder: Builder = None,
    no_cache: NoCache = False,
    cache_to: CacheTo = None,
    cache_from: CacheFrom = None,
    folder: Folder = None,
    config: Config = None,
    print_: Print = False,
    json_: Json = False,
) -> None:
    """Build the deps image: /openhands alone."""
    flags = {
        **_image_flags(platform, push, load_, image, folder),
        **_content_flags(component, plugin, no_browser, build_arg),
        **_builder_flags(builder, cache_to, cache_from),
    }
    _go(load_for_bases(flags, None, config=config), deps_only=True, no_cache=no_cache, print_=print_, json_=json_)


@app.command()
def bake(
    bases: Bases = None,
    platform: Platform = None,
    push: Push = False,
    load_: Load = False,
    image: Image = None,
    component: Component = None,
    plugin: Plugin = None,
    no_browser: NoBrowser = False,
    build_arg: BuildArg = None,
    system_packages: SystemPackages = None,
    extra_deps: ExtraDeps = None,
    deps_image: DepsImage = None,
    builder: Builder = None,
    no_cache: NoCache = False,
    cache_to: CacheTo = None,
    cache_from: CacheFrom = None,
    folder: Folder = None,
    config: Config = None,
    verify: Verify = False,
    print_: Print = False,
    json_: Json = False,
) -> None:
    """Build deps, then a runtime image for each base (those of the settings if none is named).

    Without --push or --load: push if the image name has a registry, or the engine has one of its own; else load.
    """
    flags = {
        **_image_flags(platform, push, load_, image, folder),
        **_content_flags(component, plugin, no_browser, build_arg),
        **_builder_flags(builder, cache_to, cache_from),
        **_runtime_flags(system_packages, extra_deps, deps_image),
    }
    settings = load_for_bases(flags, bases, config=config)
    _go(settings, deps_only=False, no_cache=no_cache, print_=print_, json_=json_, verify=verify)


@app.command("render")
def render_(
    bases: Bases = None,
    platform: Platform = None,
    push: Push = False,
    load_: Load = False,
    image: Image = None,
    component: Component = None,
    plugin: Plugin = None,
    no_browser: NoBrowser = False,
    build_arg: BuildArg = None,
    system_packages: SystemPackages = None,
    extra_deps: ExtraDeps = None,
    deps_image: DepsImage = None,
    folder: Folder = None,
    config: Config = None,
) -> None:
    """Write the folder that `bake` would build from, and build nothing.

    Then, in that folder: docker buildx bake
    """
    flags = {
        **_image_flags(platform, push, load_, image, folder),
        **_content_flags(component, plugin, no_browser, build_arg),
        **_runtime_flags(system_packages, extra_deps, deps_image),
    }
    job = prepare(load_for_bases(flags, bases, config=config), show_only=True)
    _remark(job)
    job.write()
    typer.echo(job.folder)


@app.command("config")
def config_(config: Config = None, json_: Json = False) -> None:
    """Print every setting in force and where it came from."""
    configuration = load(config=config)
    values = configuration.settings.model_dump(mode="json")
    if json_:
        data = {key: {"value": values[key], "from": configuration.origins[key]} for key in values}
        typer.echo(report.dump(data))
        return
    table = new_table("setting", "value", "from", "what it is")
    table.columns[0].no_wrap = True
    for key, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        description = Settings.model_fields[key].description or ""
        cells = (key, text if value is not None else "", configuration.origins[key], description)
        table.add_row(*(plain(cell) for cell in cells))
    out().print(table)


# The command line as settings; what was not given is ``None``.


def _image_flags(
    platform: list[str] | None, push: bool, load: bool, image: str | None, folder: Path | None
) -> dict[str, Any]:
    if push and load:
        raise UsageError("--push and --load exclude each other", "give one of them")
    output = "push" if push else "load" if load else None
    return {"platforms": platform or None, "output": output, "image": image, "folder": folder}


def _content_flags(
    component: list[str] | None, plugin: list[str] | None, no_browser: bool, build_arg: list[str] | None
) -> dict[str, Any]:
    given: dict[str, str] = {}
    for text in build_arg or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--build-arg {text}: it has no '='", "write NAME=VALUE")
        given[name] = value
    return {
        "components": _split(component),
        "requirements": _split(plugin),
        "enable_browser": False if no_browser else None,
        "build_args": given or None,
    }


def _builder_flags(builder: str | None, cache_to: str | None, cache_from: list[str] | None) -> dict[str, Any]:
    return {"builder": builder, "cache_to": cache_to, "cache_from": _split(cache_from)}


def _runtime_flags(system_packages: list[str] | None, extra_deps: str | None, deps_image: str | None) -> dict[str, Any]:
    return {"system_packages": _split(system_packages), "extra_deps": extra_deps, "deps_image": deps_image}


def _split(words: list[str] | None) -> list[str] | None:
    return [item for word in words for item in word.split(",") if item] if words else None


def _go(
    settings: Settings, *, deps_only: bool, no_cache: bool, print_: bool, json_: bool, verify: bool = False
) -> None:
    job = prepare(settings, deps_only=deps_only, show_only=print_, no_cache=no_cache)
    _remark(job)
    if print_:
        _show(job, json_=json_)
        return
    names = [target.name for target in job.plan.targets]
    with report.make_view(err, names) as view:
        results = job.run(view)
    if not json_:
        out().print(report.table(results))
    verdicts = verify_results(results, job.plan.output) if verify else []
    code = report.exit_code(results) or (ExitCode.OK if all_ok(verdicts) else ExitCode.BUILD_FAILED)
    if json_:
        data = {"ok": not code, "folder": str(job.folder), "targets": report.as_data(results)}
        typer.echo(report.dump({**data, "verify": show.as_data(verdicts)} if verify else data))
    elif verdicts:
        show.print_verdicts(out(), verdicts)
    for result in results:
        if result.outcome.error:
            report.print_error(err, result.outcome.error, f"error: {result.target.name}")
    raise typer.Exit(int(code))


def _remark(job: Job) -> None:
    for remark in job.remarks:
        note(remark)


def _show(job: Job, *, json_: bool) -> None:
    if not json_:
        sys.stdout.write(job.rendered.hcl)
        return
    if job.buildx is None:
        raise UsageError(
            "--print --json needs buildx to read the bake file", "install Docker's client, or leave out --json"
        )
    typer.echo(report.dump(job.buildx.parse(job.rendered)))


def _terminated(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None, *, command: typer.Typer = app, name: str = "ohbuild") -> None:
    """Run the command and exit with its code (``ohbuild.errors.ExitCode``).

    Parameters
    ----------
    command, name: another command with the same errors and exit codes, and what it is called in its help.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # --debug and --json count wherever they stand: they say how an error is shown, also one from parsing the rest.
    debug = "--debug" in words or os.environ.get("OHBUILD_DEBUG", "") not in ("", "0")
    words = [word for word in words if word != "--debug"]
    signal.signal(signal.SIGTERM, _terminated)
    sys.exit(int(_run(words, command, name, debug=debug)))


def _run(words: list[str], command: typer.Typer, name: str, *, debug: bool) -> int:
    try:
        result = command(args=words, prog_name=name, standalone_mode=False)
        return result if isinstance(result, int) else ExitCode.OK
    except OhbuildError as error:
        if debug:
            err.print(Traceback())
        report.print_error(err, error)
        if "--json" in words:
            typer.echo(report.dump({"ok": False, "error": report.error_data(error)}))
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        err.print("stopped", style="yellow")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 — so that the flush at exit does not fail again
        return ExitCode.OK
    except Exception as error:
        # Usage errors of the command line parser know how to show themselves and which code they exit with.
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            return int(error.exit_code)
        if debug:
            err.print(Traceback())
        text = f"internal error: {type(error).__name__}: {error}"
        report.print_error(err, OhbuildError(text, "run it again with --debug and report what it shows"))
        return ExitCode.BUILD_FAILED
