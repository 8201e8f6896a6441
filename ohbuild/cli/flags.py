"""Gives commands their flags, as Typer takes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature
from typing import Annotated, Any

from ohbuild.config.flags import FLAGS, settings_of, written

CONTENT = "platform push load image component agent_plugin no_browser build_arg"
EXTENSION = "system_packages extra_deps deps_image"
BUILDER = "builder no_cache cache_to cache_from"


def takes(*names: str) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Gives a command flags of the table.

    The command is called with the settings that were given, as a mapping, and with all that is no setting by name.

    Args:
        names: in the order of the help, several by spaces.
    """
    words = " ".join(names).split()
    renamed = {name: FLAGS[name].old for name in words if FLAGS[name].old}

    def decorate(command: Callable[..., int | None]) -> Callable[..., int | None]:
        @wraps(command)
        def called(**given: Any) -> int | None:
            for name, old in renamed.items():
                given[name] = [*(given[name] or ()), *(given.pop(old) or ())]
            rest = {name: given.pop(name) for name in words if not FLAGS[name].setting}
            return command(settings_of(given), **rest)

        parameters = [*map(_parameter, words), *(_parameter(name, old) for name, old in renamed.items())]
        called.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        return called

    return decorate


def option(name: str, old: str = "") -> Any:
    """Typer's description of a flag.

    Args:
        old: the name that it had before; that one is not in the help.
    """
    import typer

    flag = FLAGS[name]
    if name == "bases":
        return typer.Argument(metavar=flag.metavar, help=flag.help)
    return typer.Option(
        written(old or name), metavar=flag.metavar, help=flag.help, rich_help_panel=flag.panel, hidden=bool(old)
    )


def _parameter(name: str, old: str = "") -> Parameter:
    kind = FLAGS[name].kind
    given = list[str] if kind in (list, dict) else kind
    default = False if kind is bool else None
    return Parameter(
        old or name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[given | None, option(name, old)]
    )
