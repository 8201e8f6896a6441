# PYTHONSTARTUP is meant for the base's Python.
c.InteractiveShellApp.exec_PYTHONSTARTUP = False  # noqa: F821
