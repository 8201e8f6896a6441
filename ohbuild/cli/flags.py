"""Gives commands the flags of the table, in the form Typer expects."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature
from typing import Annotated, Any

from ohbuild.config.flags import FLAGS, settings_of, written

CONTENT = (
    "platform push load image server agent_server_version component agent_plugin no_browser build_arg allow_secret_args"
)
EXTENSION = "system_packages extra_deps deps_image"
BUILDER = "builder no_cache cache_to cache_from"


def takes(*names: str) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Gives a command flags of the table.

    The command is called with a mapping of the settings that were given, and with all other flags by name.

    Args:
        names: Names of flags in the order of the help; each text may hold several, separated by spaces.
    """
    words = " ".join(names).split()
    renamed = {name: FLAGS[name].old for name in words if FLAGS[name].old}
    panels = len({FLAGS[name].panel for name in words} - {None}) > 1

    def decorate(command: Callable[..., int | None]) -> Callable[..., int | None]:
        @wraps(command)
        def called(**given: Any) -> int | None:
            for name, old in renamed.items():
                given[name] = [*(given[name] or ()), *(given.pop(old) or ())]
            rest = {name: given.pop(name) for name in words if name == "bases" or not FLAGS[name].setting}
            return command(settings_of(given), **rest)

        parameters = [_parameter(name, panel=FLAGS[name].panel if panels else None) for name in words]
        parameters += [_parameter(name, old) for name, old in renamed.items()]
        called.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        return called

    return decorate


def option(name: str, spelling: str = "", *, about: str = "", panel: str | None = None, hidden: bool = False) -> Any:
    """Describes a flag of the table to Typer.

    Args:
        name: The flag's name in the table.
        spelling: How it is written, if not as in the table.
        about: Help for a command where it means something else.
        panel: Heading it is listed under in the help.
        hidden: Whether it is left out of the help.
    """
    import typer

    flag = FLAGS[name]
    if name == "bases":
        return typer.Argument(metavar=flag.metavar, help=flag.about)
    text = (flag._replace(about=about) if about else flag).help
    return typer.Option(
        spelling or written(name), metavar=flag.metavar, help=text, rich_help_panel=panel, hidden=hidden
    )


def _parameter(name: str, old: str = "", *, panel: str | None = None) -> Parameter:
    kind = FLAGS[name].kind
    given = list[str] if kind in (list, dict, tuple) else kind
    described = option(name, written(old or name), panel=panel, hidden=bool(old))
    default = False if kind is bool else None
    return Parameter(
        old or name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[given | None, described]
    )
