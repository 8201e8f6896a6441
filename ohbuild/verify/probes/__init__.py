"""Small Python programs that verify runs in a container with ``oh-python -c``."""

from importlib.resources import files


def _text(name: str) -> str:
    return files(__package__).joinpath(f"{name}.py").read_text(encoding="utf-8")


SERVE = _text("serve")
WAIT = _text("wait")
MODEL = _text("model")
INK = _text("ink")
WHICH = _text("which")
WHEEL = _text("wheel")
PROCESSES = _text("processes")
