"""Texts that people write in settings and on the command line."""

from __future__ import annotations


def split_list(*texts: str) -> list[str]:
    """Splits texts at commas; spaces around the words and empty words are dropped."""
    return [word for text in texts for part in text.split(",") if (word := part.strip())]
