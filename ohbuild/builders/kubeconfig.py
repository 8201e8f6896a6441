"""Prepares the kubeconfig with which buildx creates a builder in a cluster."""

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
    """Returns the path of the kubeconfig generated for a builder, needed as long as the builder exists."""
    return nodes.store(connection) / "ohbuild" / f"{name}.kubeconfig"


def variables(file: Path, options: KubernetesOptions) -> dict[str, str]:
    """Returns the environment variables for ``docker buildx create``; none if it finds the cluster without them.

    buildx supports only a single file and its current context. For another context or for several files, kubectl
    generates a single file.

    Args:
        file: Path for the generated file.
        options: Options with the kubeconfig and the context.

    Raises:
        UsageError: The kubeconfig or the context does not exist, or kubectl is missing.
    """
    given = options.kubeconfig
    if given and not given.is_file():
        raise UsageError(f"the kubeconfig {given} does not exist", "set kubeconfig=… to an existing file")
    own = {_VARIABLE: str(given.absolute())} if given else {}
    several = not given and os.pathsep in os.environ.get(_VARIABLE, "")
    if not options.context and not several:
        return own
    words = ["config", "view", "--raw", "--flatten", "--minify", "--output=json"]
    words += [f"--context={options.context}"] if options.context else []
    answer = process.ask(["kubectl", *words], env=own)
    if answer.code == 127:
        what = f"{_VARIABLE} with several files" if several else f"the context {options.context!r}"
        hint = "install kubectl, or set kubeconfig=… to a single file whose current context is the right one"
        raise UsageError(f"kubectl is missing: {what} requires it", hint)
    if not answer.ok:
        known = process.ask(["kubectl", "config", "get-contexts", "--output=name"], env=own).out.split()
        message = f"the context {options.context!r} cannot be used: {nodes.said(answer)}"
        raise UsageError(message, nearest(options.context, known))
    file.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)  # it holds credentials
    with os.fdopen(handle, "w") as stream:
        stream.write(answer.out)
    return {_VARIABLE: str(file)}
