"""Runs Jupyter's kernel gateway and its kernels with separate folders.

Run as the agent's user, in the base's environment: ``python3.13 -E -m oh_runtime.gateway PORT``.
"""

from __future__ import annotations

import os
import sys

import _openhands
from oh_container import passed, startup
from oh_container.environment import remember


def main() -> None:
    """Runs the gateway until it is stopped."""
    port = sys.argv[1]
    state = _openhands.state()
    remember(os.environ)
    passed.reduce(os.environ)
    os.environ.update(
        IPYTHONDIR=f"{state}/ipython",
        JUPYTER_CONFIG_DIR=f"{state}/jupyter/config",
        JUPYTER_DATA_DIR=f"{state}/jupyter",
        JUPYTER_RUNTIME_DIR=f"{state}/jupyter/runtime",
        JUPYTER_NO_CONFIG="1",
        JUPYTER_PLATFORM_DIRS="0",
    )
    os.environ["PATH"] = os.environ.get("PATH") or startup.PATH
    os.environ["TMPDIR"] = startup.temporary_folder(startup.facts())
    # The gateway has no authentication, so it listens only inside this container.
    sys.argv = [
        "jupyter-kernelgateway",
        "--KernelGatewayApp.ip=127.0.0.1",
        f"--KernelGatewayApp.port={port}",
        "--KernelGatewayApp.force_kernel_name=openhands",
    ]
    from kernel_gateway import launch_instance

    launch_instance()


if __name__ == "__main__":
    main()
