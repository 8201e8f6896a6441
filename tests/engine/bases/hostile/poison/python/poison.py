"""The base's own python3 can import this: for it PYTHONPATH holds."""

WHO = "the base's PYTHONPATH"
