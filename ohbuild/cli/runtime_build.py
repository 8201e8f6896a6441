"""``python -m ohbuild.runtime_build``: takes the flags of OpenHands 1.6.0, and those for a deps image."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ohbuild.bake.facts import Purpose
from ohbuild.bake.job import Job, prepare
from ohbuild.builders.errors import AgentRuntimeBuildError
from ohbuild.builders.factory import BUILTIN, create_builder
from ohbuild.cli import main as cli
from ohbuild.cli import report
from ohbuild.cli.console import err, note
from ohbuild.cli.flags import option
from ohbuild.cli.streams import say
from ohbuild.components.choice import ACTION_EXECUTION_SERVER
from ohbuild.config.descriptions import DESCRIPTIONS
from ohbuild.config.flags import pairs
from ohbuild.config.sandbox import BASE_IMAGE
from ohbuild.config.settings import load
from ohbuild.errors import ImageNotFound, OhbuildError, UsageError
from ohbuild.openhands.build import find_or_build
from ohbuild.openhands.runtime_image import describe
from ohbuild.openhands.tags import REPOSITORY_VARIABLE, get_runtime_image_repo_and_tag
from ohbuild.text import split_list

NAME = "python -m ohbuild.runtime_build"
app = typer.Typer(
    add_completion=False,  # a shell completes no `python -m`
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def runtime_build(
    base_image: Annotated[
        str, typer.Option("--base_image", metavar="IMAGE", help="Base image to build the runtime image from.")
    ] = BASE_IMAGE,
    build_folder: Annotated[
        Path | None,
        typer.Option(
            "--build_folder",
            metavar="DIRECTORY",
            help="Write the build context and config.sh here instead of building.",
        ),
    ] = None,
    force_rebuild: Annotated[bool, typer.Option("--force_rebuild", help="Build even if the image exists.")] = False,
    platform: Annotated[list[str] | None, option("platform")] = None,
    enable_browser: Annotated[
        bool, typer.Option("--enable_browser/--no_enable_browser", help=DESCRIPTIONS["enable_browser"])
    ] = True,
    build_deps_only: Annotated[bool, typer.Option("--build_deps_only", help="Build only the deps image.")] = False,
    use_deps_image: Annotated[
        bool, typer.Option("--use_deps_image", help="Use the deps image that --build_deps_only builds.")
    ] = False,
    deps_image: Annotated[str | None, option("deps_image", "--deps_image")] = None,
    agent_plugin: Annotated[list[str] | None, option("agent_plugin", "--agent_plugin")] = None,
    plugin: Annotated[list[str] | None, option("agent_plugin", "--plugin", hidden=True)] = None,
    extra_deps: Annotated[str | None, option("extra_deps", "--extra_deps")] = None,
    build_arg: Annotated[list[str] | None, option("build_arg", "--build_arg")] = None,
    push: Annotated[bool, option("push")] = False,
) -> None:
    """Find or build the runtime image for a base, and print its name.

    The variable OH_RUNTIME_RUNTIME_IMAGE_REPO names its repository. Settings come
    from ohbuild.toml and OHBUILD_* variables, as for `ohbuild`.
    """
    platforms = ",".join(split_list(*platform or ())) or None
    choice: dict[str, Any] = {
        "enable_browser": enable_browser,
        "plugins": split_list(*wanted) if (wanted := [*(agent_plugin or ()), *(plugin or ())]) else None,
        "build_args": pairs(build_arg or [], "--build_arg"),
    }
    if build_deps_only:
        if use_deps_image or deps_image or build_folder:
            raise UsageError(
                "--build_deps_only cannot be combined with --use_deps_image, --deps_image or --build_folder",
                "remove the other flags",
            )
        job = _deps_job(choice, platforms, push=push, no_cache=force_rebuild)
        note(*job.remarks)
        with report.make_view(err, ["deps"]) as view:
            results = job.run(view)
        if error := next((result.outcome.error for result in results if result.outcome.error), None):
            raise error
        say(results[-1].tags[0])
        return
    own_deps = ""
    if use_deps_image and not deps_image:
        deps_image = own_deps = _deps_job(choice, platforms, purpose=Purpose.SHOW).rendered.tags["deps"][0]
    if build_folder is not None and not build_folder.is_dir():
        raise UsageError(f"the build folder {build_folder} does not exist", "create it first")
    try:
        choice |= {"extra_deps": extra_deps, "deps_image": deps_image}
        _runtime(choice, base_image, build_folder, platforms, force=force_rebuild, push=push)
    except ImageNotFound as error:
        if own_deps and error.message.startswith(own_deps):
            error.hint = "build it with --build_deps_only and otherwise the same flags"
        raise
    except AgentRuntimeBuildError as error:
        # The error that it wraps has ohbuild's exit code.
        known = isinstance(error.__cause__, OhbuildError | KeyboardInterrupt)
        raise (error.__cause__ if known and error.__cause__ else error) from error


def _runtime(
    choice: dict[str, Any], base_image: str, folder: Path | None, platform: str | None, *, force: bool, push: bool
) -> None:
    image = describe(base_image, platform=platform, push=push, **choice)
    note(*image.remarks)
    if folder is not None:
        # OpenHands' containers/build.sh reads the context and two more lines in config.sh.
        image.with_components().write(folder)
        _, tag = get_runtime_image_repo_and_tag(base_image)
        with (folder / "config.sh").open("a", encoding="utf-8") as file:
            file.write(f"\nDOCKER_IMAGE_TAG={tag}\nDOCKER_IMAGE_SOURCE_TAG={image.tags.source}\n")
        return
    settings = load().settings
    options: dict[str, Any] = {"push": True, "load": False} if push or settings.output == "push" else {}
    with report.make_view(err, ["runtime"]) as view:
        if settings.runtime in BUILTIN:
            # The target of a builder's events is the image's long name.
            options["listener"] = lambda event: view(replace(event, target="runtime"))
        with create_builder(settings=settings, **options) as builder:
            name = find_or_build(image, builder, force=force)
    say(name)


def _deps_job(choice: dict[str, Any], platform: str | None, *, push: bool = False, **more: Any) -> Job:
    """Prepares the deps image as ``ohbuild deps`` does, next to the repository of the runtime images."""
    flags = {
        "image": os.environ.get(REPOSITORY_VARIABLE) or None,
        "platforms": [platform] if platform else None,
        "server": ACTION_EXECUTION_SERVER,
        "requirements": choice["plugins"],
        "enable_browser": choice["enable_browser"],
        "build_args": choice["build_args"] or None,
        "output": "push" if push else None,
    }
    return prepare(load(flags).settings, deps_only=True, **more)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command and exits with its code (``ohbuild.errors.ExitCode``)."""
    cli.main(arguments, command=app, name=NAME)
