"""Which cluster: the variables that lead buildx there when it makes a builder, which remembers them."""

from __future__ import annotations

import os
from pathlib import Path

from ohbuild import process
from ohbuild.config.kubernetes import KubernetesOptions
from ohbuild.docker import nodes
from ohbuild.docker.connection import Connection
from ohbuild.errors import UsageError, nearest

_VARIABLE = "KUBECONFIG"


def place(connection: Connection, name: str) -> Path:
    """Where a kubeconfig that was made for a builder lies, as long as the builder is there."""
    return nodes.store(connection) / "ohbuild" / f"{name}.kubeconfig"


def variables(file: Path, options: KubernetesOptions) -> dict[str, str]:
    """Variables for ``docker buildx create``; none if it finds the cluster by itself.

    buildx takes one file, and the context that is current in it. Where another context or several files are asked for,
    kubectl makes one file of them.

    Args:
        file: where to put that one.

    Raises:
        UsageError: there is no such kubeconfig or context, or no kubectl.
    """
    given = options.kubeconfig
    if given and not given.is_file():
        raise UsageError(f"there is no kubeconfig {given}", "name the file that leads to the cluster")
    own = {_VARIABLE: str(given.absolute())} if given else {}
    several = not given and os.pathsep in os.environ.get(_VARIABLE, "")
    if not options.context and not several:
        return own
    words = ["config", "view", "--raw", "--flatten", "--minify", "--output=json"]
    words += [f"--context={options.context}"] if options.context else []
    answer = process.ask(["kubectl", *words], env=own)
    if answer.code == 127:
        what = f"{_VARIABLE} of several files" if several else "a context of the kubeconfig"
        hint = "install it, or name one kubeconfig whose current context is the one"
        raise UsageError(f"{what} needs kubectl, which is missing", hint)
    if not answer.ok:
        known = process.ask(["kubectl", "config", "get-contexts", "--output=name"], env=own).out.split()
        message = f"the context {options.context!r} cannot be used: {nodes.said(answer)}"
        raise UsageError(message, nearest(options.context, known))
    file.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)  # it holds credentials
    with os.fdopen(handle, "w") as stream:
        stream.write(answer.out)
    return {_VARIABLE: str(file)}
