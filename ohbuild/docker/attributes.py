"""Writes values for options of docker and buildx that are lists of attributes: ``type=local,dest=/folder``."""

from __future__ import annotations

import re
from collections.abc import Mapping


def attributes(values: Mapping[str, object]) -> str:
    """Returns attributes as one line of CSV, as ``--secret``, ``--output``, ``--cache-to`` and ``--driver-opt`` take.

    A value with a comma, a quote or a line break is quoted, so that it cannot add attributes or be cut off. Sources:
    buildx: util/buildflags; github.com/tonistiigi/go-csvvalue.

    Args:
        values: Values by name; true and false are written as in buildx.
    """
    return ",".join(_field(f"{name}={_text(value)}") for name, value in values.items())


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _field(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if re.search('[,"\r\n]', text) else text
