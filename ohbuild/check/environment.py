"""Checks how an image's environment affects the programs below ``/openhands`` and the base's own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ohbuild.check.remark import Remark
from ohbuild.text import printable

_PROXY = re.compile(r"(?:https?|all)_proxy", re.I)
_LOCALE = re.compile(r"LANG|LANGUAGE|LC_[A-Z]+")
_PLAIN_LOCALES = ("", "C", "POSIX", "en", "en_US")
_HOMES = re.compile(r"/root|/home/[^/]+")
_SHOWN = 60
# Variables that are reported regardless of their values, and what they mean.
_NAMED = (
    (  # Variables that point a program to other code or data.
        "environment",
        re.compile(
            r"LD_[A-Z_]+|LOCPATH|GCONV_PATH|TMUX|TMUX_PANE|OPENSSL_(?:CONF|MODULES|ENGINES)"
            r"|PYTHON(?:PATH|HOME|STARTUP|USERBASE|PLATLIBDIR|EXECUTABLE|INSPECT|OPTIMIZE|WARNINGS|BREAKPOINT|SAFEPATH"
            r"|CASEOK|NOUSERSITE|MALLOC|DEBUG|DEVMODE|PROFILEIMPORTTIME|VERBOSE)"
            r"|NODE_OPTIONS"
        ),
        "our tools ignore it; the base's own programs and the agent's commands see it unchanged",
    ),
    (
        "shell",
        re.compile(r"TMOUT"),
        "the agent's shell does not end after that many seconds, but `read` in the agent's commands does",
    ),
    (
        "shell",
        re.compile(r"PS[0-4]|PROMPT_COMMAND"),
        "the agent's shell needs no prompt, so commands and their output are unaffected",
    ),
    (
        "shell",
        re.compile(r"BASH_ENV|ENV"),
        "the base's and the agent's scripts read this file first, as in the base; the agent's shell does not",
    ),
    (
        "shell",
        re.compile(r"SHELLOPTS|BASHOPTS"),
        "every bash of the base and of the agent's scripts starts with these options;"
        " the agent's own shell switches off errexit, nounset, pipefail, xtrace and verbose",
    ),
    (
        "shell",
        re.compile(r"POSIXLY_CORRECT"),
        "bash reads no start-up files, so the agent's shell has no aliases and functions of the base",
    ),
    (
        "certificates",
        re.compile(r"SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|NODE_EXTRA_CA_CERTS"),
        "our tools use it, or their own CA bundle if it does not exist; the base's own programs see it unchanged",
    ),
    (  # Variables for everything in a container, and those that configure our own programs.
        "settings",
        re.compile(
            r"OH_[A-Z0-9_]+|OPENHANDS_[A-Z0-9_]+|LITELLM_[A-Z0-9_]+|DEBUG|LOG_[A-Z_]+|VSCODE_PORT|SESSION_API_KEY"
            r"|RUNTIME_MAX_MEMORY_GB|TMPDIR|GLIBC_TUNABLES"
            r"|PIP_(?:TARGET|PREFIX|USER|REQUIRE_VIRTUALENV|CONFIG_FILE|INDEX_URL|EXTRA_INDEX_URL|NO_INDEX)"
        ),
        "our tools use them as settings; override them with `docker run --env` if this is not intended",
    ),
)


def environment_remarks(env: Mapping[str, str]) -> list[Remark]:
    """Returns all remarks on a base's environment, in a fixed order."""
    return [*_path(env), *_named(env), *_proxies(env), *_home(env), *_odd(env)]


def _path(env: Mapping[str, str]) -> Iterator[Remark]:
    path = env.get("PATH", "")
    if not path:
        yield Remark(
            "path",
            "it has no PATH" if "PATH" not in env else "its PATH is empty",
            "the runtime image gets Linux's default, with ours appended",
        )
        return
    loose = [entry for entry in path.split(":") if not entry.startswith("/")]
    if loose:
        yield Remark(
            "path",
            "its PATH contains " + ", ".join(repr(entry) if entry else "an empty entry" for entry in loose),
            "as in the base, the base's and the agent's commands are also searched for in the current folder;"
            " our tools use absolute paths",
        )


def _named(env: Mapping[str, str]) -> Iterator[Remark]:
    for rule, names, meaning in _NAMED:
        if found := [name for name in env if names.fullmatch(name)]:
            # only the names, because some settings are secrets
            yield Remark(rule, "it sets " + ", ".join(found) if rule == "settings" else _sets(env, found), meaning)


def _proxies(env: Mapping[str, str]) -> Iterator[Remark]:
    found = [name for name in env if _PROXY.fullmatch(name) and env[name]]
    if found:
        yield Remark("proxy", "it sets " + ", ".join(found), "our tools use that proxy too")


def _home(env: Mapping[str, str]) -> Iterator[Remark]:
    home = env.get("HOME", "/root")
    if not _HOMES.fullmatch(home):
        yield Remark(
            "home",
            f"its HOME is {printable(home, _SHOWN) or 'empty'}",
            "it is kept; if it is not a writable folder, our tools store their state below $TMPDIR or /tmp",
        )


def _odd(env: Mapping[str, str]) -> Iterator[Remark]:
    found = [
        name
        for name, value in env.items()
        if _LOCALE.fullmatch(name) and "utf" not in value.lower() and value not in _PLAIN_LOCALES
    ]
    if env.get("TERM") == "dumb":
        found.append("TERM")
    if found:
        yield Remark(
            "terminal",
            _sets(env, found),
            "our tools use UTF-8 and their own terminal type; the base's own programs see it unchanged",
        )


def _sets(env: Mapping[str, str], names: list[str]) -> str:
    return "it sets " + ", ".join(f"{name}={printable(env[name], _SHOWN)}" for name in names)
