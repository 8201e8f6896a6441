"""``python -m ohbuild.runtime_build``: OpenHands 1.6.0's flags and those for a deps image, before ohbuild's own."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ohbuild.bake.job import Job, prepare
from ohbuild.builders.errors import AgentRuntimeBuildError
from ohbuild.builders.factory import BUILTIN, create_builder
from ohbuild.cli import main as cli
from ohbuild.cli import report
from ohbuild.cli.console import err, note
from ohbuild.config.sandbox import BASE_IMAGE
from ohbuild.config.settings import load, words
from ohbuild.errors import ImageNotFound, OhbuildError, UsageError
from ohbuild.openhands.build import find_or_build
from ohbuild.openhands.runtime_image import describe
from ohbuild.openhands.tags import REPOSITORY_VARIABLE, get_runtime_image_repo_and_tag

NAME = "python -m ohbuild.runtime_build"
app = typer.Typer(pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command()
def runtime_build(
    base_image: Annotated[str, typer.Option("--base_image", help="The image to put the runtime into.")] = BASE_IMAGE,
    build_folder: Annotated[
        Path | None, typer.Option("--build_folder", help="Write the build context and config.sh here; build nothing.")
    ] = None,
    force_rebuild: Annotated[bool, typer.Option("--force_rebuild", help="Build even if the image is there.")] = False,
    platform: Annotated[str | None, typer.Option("--platform", help="Platforms, by comma: linux/amd64.")] = None,
    enable_browser: Annotated[
        bool, typer.Option("--enable_browser/--no_enable_browser", help="Whether the image has a browser.")
    ] = True,
    build_deps_only: Annotated[bool, typer.Option("--build_deps_only", help="Build the deps image alone.")] = False,
    use_deps_image: Annotated[
        bool, typer.Option("--use_deps_image", help="Take the layers from the deps image of --build_deps_only.")
    ] = False,
    deps_image: Annotated[
        str | None, typer.Option("--deps_image", help="Take the layers from this deps image.")
    ] = None,
    agent_plugin: Annotated[
        list[str] | None,
        typer.Option("--agent_plugin", help="OpenHands' plug-ins, by comma or repeated; else everything."),
    ] = None,
    plugin: Annotated[list[str] | None, typer.Option("--plugin", hidden=True)] = None,
    extra_deps: Annotated[str | None, typer.Option("--extra_deps", help="Shell commands, run last.")] = None,
    build_arg: Annotated[
        list[str] | None, typer.Option("--build_arg", help="NAME=VALUE for a build argument of a component.")
    ] = None,
    push: Annotated[bool, typer.Option("--push", help="Push the image, instead of loading it into Docker.")] = False,
) -> None:
    """Find or build the runtime image for a base, and print its name.

    Its repository is the variable OH_RUNTIME_RUNTIME_IMAGE_REPO. Settings come from ohbuild.toml and OHBUILD_*, as for
    the command `ohbuild`.
    """
    choice: dict[str, Any] = {
        "enable_browser": enable_browser,
        "plugins": words(",".join(wanted)) if (wanted := [*(agent_plugin or ()), *(plugin or ())]) else None,
        "build_args": _pairs(build_arg or []),
    }
    if build_deps_only:
        if use_deps_image or deps_image or build_folder:
            raise UsageError(
                "--build_deps_only cannot be combined with --use_deps_image, --deps_image or --build_folder",
                "leave out the rest",
            )
        job = _deps_job(choice, platform, push=push, no_cache=force_rebuild)
        note(*job.remarks)
        with report.make_view(err, ["deps"]) as view:
            results = job.run(view)
        if error := next((result.outcome.error for result in results if result.outcome.error), None):
            raise error
        typer.echo(results[-1].tags[0])
        return
    own_deps = ""
    if use_deps_image and not deps_image:
        deps_image = own_deps = _deps_job(choice, platform, show_only=True).rendered.tags["deps"][0]
    if build_folder is not None and not build_folder.is_dir():
        raise UsageError(f"the build folder {build_folder} does not exist", "make it first")
    try:
        choice |= {"extra_deps": extra_deps, "deps_image": deps_image}
        _runtime(choice, base_image, build_folder, platform, force=force_rebuild, push=push)
    except ImageNotFound as error:
        if own_deps and error.message.startswith(own_deps):
            error.hint = "make it with --build_deps_only, and otherwise the same flags"
        raise
    except AgentRuntimeBuildError as error:
        # What it was before it got OpenHands' name has ohbuild's exit code.
        known = isinstance(error.__cause__, OhbuildError | KeyboardInterrupt)
        raise (error.__cause__ if known and error.__cause__ else error) from error


def _runtime(
    choice: dict[str, Any], base_image: str, folder: Path | None, platform: str | None, *, force: bool, push: bool
) -> None:
    image = describe(base_image, platform=platform, push=push, **choice)
    note(*image.remarks)
    if folder is not None:
        # What OpenHands' containers/build.sh reads: the context, and two lines more in config.sh.
        image.with_components().write(folder)
        _, tag = get_runtime_image_repo_and_tag(base_image)
        with (folder / "config.sh").open("a") as file:
            file.write(f"\nDOCKER_IMAGE_TAG={tag}\nDOCKER_IMAGE_SOURCE_TAG={image.tags.source}\n")
        return
    settings = load().settings
    options: dict[str, Any] = {"push": True, "load": False} if push or settings.output == "push" else {}
    with report.make_view(err, ["runtime"]) as view:
        if settings.runtime in BUILTIN:
            # A builder's events have the image's name, which is longer than what happens to it.
            options["listener"] = lambda event: view(replace(event, target="runtime"))
        with create_builder(settings=settings, **options) as builder:
            name = find_or_build(image, builder, force=force)
    typer.echo(name)


def _deps_job(choice: dict[str, Any], platform: str | None, *, push: bool = False, **more: Any) -> Job:
    """The deps image as ``ohbuild deps`` makes it, beside the repository of the runtime images."""
    flags = {
        "image": os.environ.get(REPOSITORY_VARIABLE) or None,
        "platforms": [platform] if platform else None,
        "requirements": choice["plugins"],
        "enable_browser": choice["enable_browser"],
        "build_args": choice["build_args"] or None,
        "output": "push" if push else None,
    }
    return prepare(load(flags).settings, deps_only=True, **more)


def _pairs(given: list[str]) -> dict[str, str]:
    for word in given:
        if "=" not in word:
            raise UsageError(f"--build_arg {word!r} is not NAME=VALUE", "write --build_arg NAME=VALUE")
    return dict(word.split("=", 1) for word in given)


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit with its code (``ohbuild.errors.ExitCode``)."""
    cli.main(arguments, command=app, name=NAME)
