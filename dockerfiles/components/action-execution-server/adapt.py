"""Adapts openhands-ai 1.6.0 and its dependencies to bases that they were not written for.

The build calls it with the package folder of this component, followed by those of other components. Files of the other
components are copied into the first folder and changed there, so that they override the originals in an image. Each
change replaces a text that must occur exactly once, so that a different version fails in the build and not at run time.

The changes:

- The server first prepares the container (``oh_runtime``), and runs as the requested user if possible.
- The base's ``su``, ``useradd``, ``sudo``, ``chown``, ``tmux``, ``bash`` and ``sh`` are not called.
- Programs that an agent starts have the base's environment. Its shell is ours (``oh_container.shell``).
- Paths that may be missing or read-only are not required: /tmp, /workspace, the folder of the program's own code.
- A missing bundle of CA certificates is not an error.
- Neither is a missing component: Jupyter, VS Code, the browser. One that fails does not take the server along.
- Less is imported at the start (``imports.py``).
"""

import compileall
import sys
from pathlib import Path
from py_compile import PycInvalidationMode

import imports

SERVER = "openhands/runtime/action_execution_server.py"
REQUESTS = (
    """                verify = (
                    os.environ.get("REQUESTS_CA_BUNDLE")
                    or os.environ.get("CURL_CA_BUNDLE")
                    or verify
                )
""",
    """                bundles = [os.environ.get(name, "") for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")]
                verify = next(filter(os.path.exists, bundles), verify)
""",
)


def ready(indent: str) -> list[tuple[str, str]]:
    """Returns the changes by which a plug-in waits until its program is ready.

    A program that has ended writes no more lines. A traceback has an "at" too. Waiting after each line takes seconds.
    """
    return [
        (
            "line_bytes = await self.gateway_process.stdout.readline()\n",
            "line_bytes = await parts.next_line(self.gateway_process, output)\n",
        ),
        (
            f"{indent}if 'at' in line:\n{indent}    break\n{indent}await asyncio.sleep(1)\n",
            f"{indent}if ' at http' in line:\n{indent}    break\n",
        ),
    ]


CHANGES = {
    SERVER: [
        (
            "import argparse\nimport asyncio\n",
            "import oh_runtime\n\nif __name__ == '__main__':\n    oh_runtime.start()\n\n"
            "import argparse\nimport asyncio\n",
        ),
        (
            "from openhands.runtime.utils.runtime_init import init_user_and_working_directory\n",
            "from oh_runtime import parts\n"
            "from oh_runtime.users import init_user_and_working_directory, make_parents, settle\n",
        ),
        # Components that the image lacks are not started. Requests for them get an error.
        ("self.enable_browser = enable_browser\n", "self.enable_browser = enable_browser and parts.browser()\n"),
        ("        for plugin in args.plugins:\n", "        for plugin in parts.checked(args.plugins):\n"),
        *(
            (
                f"{name}) -> Observation:\n        if self.browser is None:\n            return ErrorObservation(\n"
                "                'Browser functionality is not supported or disabled.'\n            )\n",
                f"{name}) -> Observation:\n        if reason := await parts.no_browser(self):\n"
                "            return ErrorObservation(reason)\n",
            )
            for name in ("action: BrowseURLAction", "action: BrowseInteractiveAction")
        ),
        # The browser starts at its first use, because it takes as much CPU time and memory as the server, and in a
        # thread, because the server must answer meanwhile.
        (
            """        # Start browser initialization in the background
        self.browser_init_task = asyncio.create_task(self._init_browser_async())
        logger.debug('Browser initialization started in background')
""",
            "",
        ),
        (
            "self.browser = BrowserEnv(self.browsergym_eval_env)\n",
            "self.browser = await asyncio.to_thread(BrowserEnv, self.browsergym_eval_env)\n"
            "            parts.failures.pop(parts.BROWSER, None)\n",
        ),
        (
            "            self.browser = None\n\n    async def _ensure_browser_ready",
            "            self.browser = None\n            parts.browser_failed()\n\n"
            "    async def _ensure_browser_ready",
        ),
        # A part that fails does not take the server along.
        (
            """        await wait_all(
            (self._init_plugin(plugin) for plugin in self.plugins_to_load),
            timeout=int(os.environ.get('INIT_PLUGIN_TIMEOUT', '120')),
        )
""",
            "        seconds = int(os.environ.get('INIT_PLUGIN_TIMEOUT', '120'))\n"
            "        await parts.initialize(self.plugins_to_load, self._init_plugin, seconds)\n",
        ),
        (
            """            raise RuntimeError(
                'JupyterRequirement not found. Unable to run IPython action.'
            )
""",
            "            return ErrorObservation(parts.no_jupyter())\n",
        ),
        (
            "            'resources': get_system_stats(),\n        }\n        logger.info('Server info",
            "            'resources': get_system_stats(),\n            'failed_parts': parts.failures,\n        }\n"
            "        logger.info('Server info",
        ),
        # Files that the server writes for the agent belong to the agent's user,
        (
            """            if file_exists:
                assert file_stat is not None
                # restore the original file permissions if the file already exists
                os.chmod(filepath, file_stat.st_mode)
                os.chown(filepath, file_stat.st_uid, file_stat.st_gid)
            else:
                # set the new file permissions if the file is new
                os.chmod(filepath, 0o664)
                os.chown(filepath, self.user_id, self.user_id)
""",
            "            settle(filepath, file_stat, self.user_id)\n",
        ),
        # and so do the folders created for them. A server without root reports files that it may not write.
        (
            "        if not os.path.exists(os.path.dirname(filepath)):\n"
            "            os.makedirs(os.path.dirname(filepath))\n",
            "        make_parents(filepath, self.user_id)\n",
        ),
        (
            "            return ErrorObservation(f'File not found: {filepath}')\n",
            "            return ErrorObservation(f'File not found: {filepath}')\n"
            "        except PermissionError:\n            return ErrorObservation(f'Permission denied: {filepath}')\n",
        ),
        (
            "        assert action.impl_source == FileEditSource.OH_ACI\n",
            "        assert action.impl_source == FileEditSource.OH_ACI\n"
            "        new = action.command == 'create' and not os.path.exists(action.path)\n"
            "        if new:\n            make_parents(action.path, self.user_id)\n",
        ),
        (
            "        return FileEditObservation(\n",
            "        if new and os.path.exists(action.path):\n"
            "            settle(action.path, None, self.user_id)\n        return FileEditObservation(\n",
        ),
        (
            "self.downloads_directory = '/workspace/.downloads'",
            "self.downloads_directory = os.environ.get('BROWSERGYM_DOWNLOAD_DIR') or '/workspace/.downloads'",
        ),
        (
            "'/workspace', f'file_{len(self.downloaded_files)}{file_ext}'",
            "os.path.dirname(self.downloads_directory), f'file_{len(self.downloaded_files)}{file_ext}'",
        ),
    ],
    # Our own shell instead of a prompt, which the base's start-up files may change. It takes a command's text as it is
    # and does not show it.
    "openhands/runtime/utils/bash.py": [
        ("import libtmux\n", "from oh_runtime import terminal\n"),
        ("                command = escape_bash_special_chars(command)\n", ""),
        ("        command_output = _remove_command_prefix(command_output, command)\n", ""),
        (
            "        raise RuntimeError('Bash session was likely interrupted...')\n",
            """        raise RuntimeError('Bash session was likely interrupted...')


USERS = (RUNTIME_USERNAME, 'root', 'openhands')
terminal.install(BashSession, lambda found: found.username if SU_TO_USER and found.username in USERS else None)
""",
        ),
    ],
    "openhands/events/observation/commands.py": [
        (
            "CMD_OUTPUT_PS1_BEGIN = '\\n###PS1JSON###\\n'\n",
            "from oh_container import prompts\n\nCMD_OUTPUT_PS1_BEGIN = prompts.BEGIN\n",
        ),
        ("CMD_OUTPUT_PS1_END = '\\n###PS1END###'\n", "CMD_OUTPUT_PS1_END = prompts.END\n"),
    ],
    # The reply uses a different channel than the output and may overtake it, so the output would be lost.
    "openhands/runtime/plugins/jupyter/execute_server.py": [
        (
            "elif msg_type == 'execute_reply':\n",
            "elif msg_type == 'status' and msg_dict['content']['execution_state'] == 'idle':\n",
        ),
        # The same after an error. And a cell that was sent meanwhile would be reported as run without having been run.
        (
            "outputs.append({'type': 'text', 'content': traceback})\n                    execution_done = True\n",
            "outputs.append({'type': 'text', 'content': traceback})\n",
        ),
        ("'allow_stdin': False,\n", "'allow_stdin': False,\n                        'stop_on_error': False,\n"),
    ],
    "openhands/runtime/plugins/jupyter/__init__.py": [
        (
            "import IPythonRunCellObservation\n",
            "import IPythonRunCellObservation\nfrom oh_runtime import parts, users\n",
        ),
        *ready(" " * 16),
        ("prefix = f'su - {username} -s ' if SU_TO_USER else ''", "user = username if SU_TO_USER else None"),
        (
            """            jupyter_launch_command = (
                f"{prefix}/bin/bash << 'EOF'\\n"
                f'{poetry_prefix}'
                f'"{sys.executable}" -m jupyter kernelgateway '
                '--KernelGatewayApp.ip=0.0.0.0 '
                f'--KernelGatewayApp.port={self.kernel_gateway_port}\\n'
                'EOF'
            )
""",
            """            jupyter_launch_command = users.command(
                user, sys.executable, '-EPu', '-m', 'oh_runtime.gateway', str(self.kernel_gateway_port)
            )
""",
        ),
        (
            "asyncio.create_subprocess_shell(\n                jupyter_launch_command,",
            "asyncio.create_subprocess_exec(\n                *jupyter_launch_command,",
        ),
    ],
    "openhands/runtime/plugins/vscode/__init__.py": [
        (
            "from openhands.runtime.utils.system import check_port_available\n",
            "from openhands.runtime.utils.system import check_port_available\n"
            "from oh_container import startup\nfrom oh_runtime import parts, users\n",
        ),
        *ready(" " * 12),
        # Any user is supported, because su is not needed.
        ("if username not in filter(None, [RUNTIME_USERNAME, 'root', 'openhands']):", "if not username:"),
        (
            "        self._setup_vscode_settings()\n",
            "        startup.softly(self._setup_vscode_settings)\n"
            "        users.give(os.path.join(os.getenv('WORKSPACE_BASE', '/workspace'), '.vscode'), username)\n",
        ),
        (
            """            cmd = (
                (
                    f"su - {username} -s /bin/bash << 'EOF'\\n"
                    if SU_TO_USER
                    else "/bin/bash << 'EOF'\\n"
                )
                + f'sudo chown -R {username}:{username} /openhands/.openvscode-server\\n'
                + f'cd {workspace_path}\\n'
                + 'exec /openhands/.openvscode-server/bin/openvscode-server '
                + f'--host 0.0.0.0 --connection-token {self.vscode_connection_token} '
                + f'--port {self.vscode_port} --disable-workspace-trust{base_path_flag}\\n'
                + 'EOF'
            )
""",
            """        cmd = users.command(
            username if SU_TO_USER else None,
            *users.with_temporary_folder('/openhands/.openvscode-server/bin/openvscode-server'),
            *('--host', '0.0.0.0', '--connection-token', self.vscode_connection_token),
            *('--port', str(self.vscode_port), '--disable-workspace-trust', *base_path_flag.split()),
        )
""",
        ),
        (
            "asyncio.create_subprocess_shell(\n            cmd,",
            "asyncio.create_subprocess_exec(\n            *cmd,\n"
            "            cwd=workspace_path if os.path.isdir(workspace_path) else None,",
        ),
    ],
    # browsergym imports Playwright, which may be missing.
    "openhands/runtime/browser/browser_env.py": [
        ("import browsergym.core  # noqa F401 (we register the openended task as a gym environment)\n", ""),
        (
            "from browsergym.utils.obs import flatten_dom_to_str, overlay_som\n",
            "from oh_runtime import parts\n\nif parts.browser():\n    import browsergym.core  # registers its tasks\n"
            "    from browsergym.utils.obs import flatten_dom_to_str, overlay_som\n",
        ),
        # A browser that has ended does not answer, however long one waits.
        ("self.agent_side.poll(timeout=timeout):", "parts.answers(self.agent_side, self.process, timeout):"),
        ("tenacity.stop_after_attempt(5)", "tenacity.stop_after_attempt(2)"),
    ],
    "openhands/runtime/browser/utils.py": [
        (
            "from browsergym.utils.obs import flatten_axtree_to_str\n",
            "from oh_runtime import parts\n\nif parts.browser():\n"
            "    from browsergym.utils.obs import flatten_axtree_to_str\n",
        ),
    ],
    "openhands/runtime/file_viewer_server.py": [
        ("port_path = '/tmp/oh-server-url'", "port_path = os.path.join(tempfile.gettempdir(), 'oh-server-url')"),
        ("import threading\n", "import tempfile\nimport threading\n"),
        ("URL saved to /tmp/oh-server-url: {server_url}", "URL saved to {port_path}: {server_url}"),
    ],
    "openhands/core/logger.py": [
        (
            """LOG_DIR = os.path.join(
    # parent dir of openhands/core (i.e., root of the repo)
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
    'logs',
)
""",
            "import _openhands\n\nLOG_DIR = os.path.join(_openhands.state(), 'logs')\n",
        ),
    ],
    # litellm sets this variable so that tiktoken finds a table. Afterwards, the base's value is restored.
    "litellm/litellm_core_utils/default_encoding.py": [
        (
            'os.environ["TIKTOKEN_CACHE_DIR"] = os.getenv(',
            'before = os.environ.get("TIKTOKEN_CACHE_DIR")\nos.environ["TIKTOKEN_CACHE_DIR"] = os.getenv(',
        ),
        (
            'encoding = tiktoken.get_encoding("cl100k_base")\n',
            'encoding = tiktoken.get_encoding("cl100k_base")\nif before is None:\n'
            '    del os.environ["TIKTOKEN_CACHE_DIR"]\nelse:\n    os.environ["TIKTOKEN_CACHE_DIR"] = before\n',
        ),
    ],
    "httpx/_config.py": [
        ('os.environ.get("SSL_CERT_FILE"):', 'os.path.isfile(os.environ.get("SSL_CERT_FILE", "")):'),
        ('os.environ.get("SSL_CERT_DIR"):', 'os.path.isdir(os.environ.get("SSL_CERT_DIR", "")):'),
    ],
    "botocore/endpoint.py": [
        (
            "return os.environ.get('REQUESTS_CA_BUNDLE', True)",
            "bundle = os.environ.get('REQUESTS_CA_BUNDLE', '')\n"
            "        return bundle if os.path.exists(bundle) else True",
        ),
    ],
    "requests/sessions.py": [REQUESTS],
    "pip/_vendor/requests/sessions.py": [REQUESTS],
}


def write(path: Path, text: str) -> None:
    """Writes a module and compiles it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    compiled(path)


def compiled(path: Path) -> None:
    """Compiles a module, so that it is never compiled in a container."""
    compileall.compile_file(path, force=True, quiet=1, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)


def main() -> None:
    """Changes the files below the folder given as first argument and compiles them, and ``oh_runtime`` as well."""
    site, *others = map(Path, sys.argv[1:])
    for name, (place, text) in imports.MOVED.items():
        (site / name).rename(site / place)
        write(site / name, text)
        compiled(site / place)
    for name in {**CHANGES, **imports.CHANGES}:
        changes = [*CHANGES.get(name, []), *imports.CHANGES.get(name, [])]
        path = site / name
        found = next((folder / name for folder in (site, *others) if (folder / name).exists()), None)
        if found is None:
            sys.exit(f"adapt: {name}: no such file")
        text = found.read_text()
        for old, new in changes:
            if text.count(old) != 1:
                sys.exit(f"adapt: {name}: {old!r} occurs {text.count(old)} times, expected once (is it 1.6.0?)")
            text = text.replace(old, new)
        write(path, text)
    compileall.compile_dir(
        site / "oh_runtime", force=True, quiet=1, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH
    )


if __name__ == "__main__":
    main()
