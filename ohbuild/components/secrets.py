"""Finds secrets in build arguments. They are readable in the image's history.

What only may be a secret is a remark, as in BuildKit. What certainly is one is refused.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

# BuildKit's rule for names that look like secrets (SecretsUsedInArgOrEnv in dockerfile2llb/validations.go).
_NAME = re.compile(r"(?:^|_)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)", re.I)
_ALLOWED = re.compile(r"(?:^|_)(?:public|file|version)(?:_|$)", re.I)
# Predefined by BuildKit, which keeps their values out of the history.
_PROXY = re.compile(r"(?:https?|ftp|no|all)_proxy", re.I)
# Formats of tokens that services define for secret scanners. A part of an `sk-` key is long, unlike `disk-image`.
_FORMATS = (
    ("a GitHub token", r"gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{20}"),
    ("a GitLab token", r"glpat-[\w-]{20}"),
    ("an AWS access key", r"A(?:KIA|SIA)[0-9A-Z]{16}(?![0-9A-Za-z])"),
    ("an API key", r"sk-[\w-]*[A-Za-z0-9_]{20}|sk_live_[A-Za-z0-9]{16}"),
    ("a Hugging Face token", r"hf_[A-Za-z0-9]{34}"),
    ("a Slack token", r"xox[abprs]-[A-Za-z0-9-]{10}"),
    ("an npm token", r"npm_[A-Za-z0-9]{36}"),
    ("a PyPI token", r"pypi-AgE[\w-]{16}"),
    ("a Docker token", r"dckr_[op]at_[\w-]{20}"),
)
_TOKENS = tuple((kind, re.compile(rf"(?<![A-Za-z0-9_-])(?:{form})")) for kind, form in _FORMATS)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY")
# A JSON Web Token may be public, such as the anonymous key of a service.
_WEB_TOKEN = re.compile(r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.")
_PASSWORD = re.compile(r"://([^/\s:@]*):([^/\s@]+)@(\[[^\]\s]*\]|[^/\s:?#]*)")
_PLACEHOLDERS = re.compile(
    r"(?:my|your|the|some|db|root|user|admin)?[-_ ]?(?:pass(?:word|wd|phrase)?|pwd|pw|secret|token|key)"
    r"(?:[-_ ]?here)?\d{0,4}|change[-_ ]?(?:me|it|this)|example|sample|dummy|fake|test(?:ing)?|demo|local|dev|guest"
    r"|user(?:name)?|admin|root|sa|postgres(?:ql)?|mysql|mariadb|mongo(?:db)?|redis|rabbitmq|redacted|todo|none|null",
    re.I,
)
_NOT_PUBLIC = re.compile(r"(?:.*\.)?(?:example(?:\.(?:com|net|org))?|test|invalid|localhost|local|internal)", re.I)


def looks_secret(name: str) -> bool:
    """Checks whether the name of a build argument looks like a secret's."""
    return bool(_NAME.search(name)) and not _ALLOWED.search(name)


def secret_kind(name: str, value: str) -> str:
    """Returns what a value certainly holds: ``a GitHub token``, ``a password``, …; empty if nothing is certain.

    The name of an argument alone is never certain.
    """
    if _PROXY.fullmatch(name):
        return ""
    if _PRIVATE_KEY.search(value):
        return "a private key"
    kinds = (kind for kind, form in _TOKENS if form.search(value))
    return next(kinds, "") or ("a password" if any(map(_is_real, _PASSWORD.finditer(value))) else "")


def _is_real(match: re.Match[str]) -> bool:
    """Checks whether a URL has a password of a server elsewhere, and not a placeholder."""
    user, password, host = (unquote(text) for text in match.groups())
    placeholder = (
        password == user
        or len(set(password)) < 3
        or bool(re.search(r"[$<>{}%*]|\.\.\.|…", password))
        or bool(_PLACEHOLDERS.fullmatch(password))
    )
    return not placeholder and not _is_local(host)


def _is_local(host: str) -> bool:
    """Checks whether a host is this machine, in a private network, a service of Compose or a name of documentation."""
    host = host.strip("[]").rstrip(".")
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or bool(_NOT_PUBLIC.fullmatch(host))


def secret_problem(name: str, value: str) -> tuple[str, str] | None:
    """Returns message and hint if an argument certainly holds a secret; ``None`` if that is not certain.

    Neither has the value, because errors end up in logs.
    """
    if kind := secret_kind(name, value):
        what = f"the value of the build argument {name!r} is {kind}, which would be readable in the image's history"
        return what, "supply it when the image runs, or allow it with --allow-secret-args (setting allow_secret_args)"
    return None


def secret_remark(name: str, value: str) -> str:
    """Returns why an argument may be a secret, without its value; empty if it does not look like one."""
    if not value or _PROXY.fullmatch(name) or secret_kind(name, value):
        return ""
    if looks_secret(name):
        why = "has the name of a secret"
    elif _WEB_TOKEN.search(value):
        why = "holds a JSON Web Token"
    elif _PASSWORD.search(value):
        why = "holds a URL with a password"
    else:
        return ""
    return f"the build argument {name!r} {why}, and is readable in the image's history (--allow-secret-args omits this)"


def secret_remarks(arguments: Mapping[str, str] | Iterable[tuple[str, str]]) -> list[str]:
    """Returns a remark for each build argument that may be a secret."""
    pairs = arguments.items() if isinstance(arguments, Mapping) else arguments
    return [remark for name, value in pairs if (remark := secret_remark(name, value))]
