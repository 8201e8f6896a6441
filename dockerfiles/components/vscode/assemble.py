#!/usr/bin/env python3
"""Assembles the VS Code server: code-server's ``lib/vscode`` and the node modules it loads, without the rest.

Runs in the build, on the build platform, for any target, and executes nothing of what it assembles. Installed by npm,
code-server takes 617 MB. OpenHands starts ``lib/vscode/out/server-main.js``, which needs a tenth of that.

``MODULES`` lists the node modules explicitly. npm's dependency closure is far too large: VS Code bundles most of its
code into ``out/`` and imports only a few packages by name, in the server, the extension host, the terminal host, the
file watcher and the browser. If a later version needs another module, it fails at startup and in the conformance test.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

CODE = ("**/*.js", "**/*.mjs", "**/*.cjs")

# Module -> the files to keep, in addition to package.json and licences.
MODULES: dict[str, tuple[str, ...]] = {
    # server-main.js imports its telemetry client statically, even with telemetry off.
    "@microsoft/1ds-core-js": ("dist/ms.core.js",),
    "@microsoft/applicationinsights-core-js": ("dist/applicationinsights-core-js.js",),
    "@microsoft/applicationinsights-shims": ("dist/umd/applicationinsights-shims.js",),
    "@microsoft/dynamicproto-js": ("lib/dist/node/dynamicproto-js.js",),
    # The file watcher process.
    "@parcel/watcher": ("index.js", "wrapper.js"),
    "detect-libc": ("lib/*.js",),
    "is-extglob": CODE,
    "is-glob": CODE,
    "picomatch": CODE,
    # Logging, and the extension host's watchdog for its parent process. Both are compiled here.
    "@vscode/native-watchdog": ("index.js",),
    "@vscode/spdlog": ("index.js",),
    "bindings": CODE,
    "file-uri-to-path": ("index.js",),
    "mkdirp": CODE,
    # The only module of the git extension, plain JavaScript on Linux.
    "@vscode/fs-copyfile": ("lib/*.js",),
    # Search.
    "@vscode/ripgrep-universal": ("lib/index.js",),
    # Terminals.
    "node-pty": ("lib/*.js", "lib/shared/*.js"),
    "@xterm/headless": ("lib-headless/xterm-headless.js",),
    # HTTP in the server and the extension host, with or without a proxy.
    "@tootallnate/once": ("dist/*.js",),
    "@vscode/proxy-agent": ("out/*.js",),
    "agent-base": ("dist/*.js",),
    "cookie": CODE,
    "debug": ("src/*.js",),
    "http-proxy-agent": ("dist/*.js",),
    "https-proxy-agent": ("dist/*.js",),
    "ip-address": CODE,
    "ms": CODE,
    "smart-buffer": CODE,
    "socks": ("build/**/*.js",),
    "socks-proxy-agent": ("dist/*.js",),
    "undici": CODE,
    "ws": CODE,
    # Archives (extensions), arguments, regular expressions.
    "buffer-crc32": CODE,
    "minimist": ("index.js",),
    "pend": ("index.js",),
    "vscode-regexpp": ("index.js",),
    "yauzl": CODE,
    "yazl": ("index.js",),
    # Fetched by the browser from _static/node_modules. The terminal host loads the addons too.
    "@vscode/iconv-lite-umd": ("lib/iconv-lite-umd.js",),
    # The parsers for editor.experimental.preferTreeSitter.*, which has settings for these four languages.
    "@vscode/tree-sitter-wasm": (
        "wasm/tree-sitter.js",
        "wasm/tree-sitter.wasm",
        "wasm/tree-sitter-css.wasm",
        "wasm/tree-sitter-ini.wasm",
        "wasm/tree-sitter-regex.wasm",
        "wasm/tree-sitter-typescript.wasm",
    ),
    "@vscode/vscode-languagedetection": ("dist/lib/index.js", "model/*"),
    "@xterm/addon-clipboard": ("lib/addon-clipboard.js",),
    "@xterm/addon-image": ("lib/addon-image.js",),
    "@xterm/addon-ligatures": ("lib/addon-ligatures.js",),
    "@xterm/addon-progress": ("lib/addon-progress.js",),
    "@xterm/addon-search": ("lib/addon-search.js",),
    "@xterm/addon-serialize": ("lib/addon-serialize.js",),
    "@xterm/addon-unicode11": ("lib/addon-unicode11.js",),
    "@xterm/addon-webgl": ("lib/addon-webgl.js",),
    "@xterm/xterm": ("lib/xterm.js",),
    "jschardet": ("dist/jschardet.min.js",),
    "katex": ("dist/katex.min.js", "dist/katex.min.css", "dist/fonts/*.woff2"),
    "tas-client": ("dist/tas-client.min.js",),
    "vscode-oniguruma": ("release/main.js", "release/onig.wasm"),
    "vscode-textmate": ("release/**/*.js",),
}

# The language server of TypeScript (24 MB) and its libraries, without the compiler command and translations.
TYPESCRIPT = (
    "lib/tsserver.js",
    "lib/_tsserver.js",
    "lib/typescript.js",
    "lib/typingsInstaller.js",
    "lib/_typingsInstaller.js",
    "lib/typesMap.json",
    "lib/lib.*.d.ts",
    "lib/lib.d.ts",
)

# Built-in extensions to remove, and why.
EXTENSIONS_CUT = {
    "copilot": "41 MB, and needs a GitHub account and its own SDK of 200 MB",
    "mermaid-markdown-features": "47 MB: three copies of the same diagram library",
    "microsoft-authentication": "signs in to Microsoft, with native libraries of the desktop version",
    "tunnel-forwarding": "calls `code tunnel`, which only the desktop version has",
}

# Files and folders below lib/vscode to remove.
CUT = (
    # The agent host runs agents of Copilot and other vendors, whose SDKs are not included.
    "out/vs/platform/agentHost",
    # 12 voices of the same product, 2 MB that do not compress.
    "out/vs/workbench/contrib/agentsVoice",
    # Commands for macOS and Windows. remote-cli and helpers are rewritten below.
    "bin",
    "npm-shrinkwrap.json",
    "extensions/npm-shrinkwrap.json",
    "extensions/package.json",
    "extensions/postinstall.mjs",
    "extensions/markdown-language-features/markdown-editor-src",
)

# Windows libraries, build leftovers and debugging files, in all folders.
CUT_SUFFIXES = (".map", ".obj", ".pdb", ".lib", ".exe", ".cmd", ".bat", ".win32-x64-msvc", ".tsbuildinfo")
CUT_PATTERNS = ("extensions/**/*win32*.node", "extensions/*/ThirdPartyNotices.txt", "extensions/*/CHANGELOG.md")

# Changes for which there are no settings: (file, regular expression that must match once, replacement, why).
PATCHES = (
    (
        "out/vs/code/browser/workbench/workbench.js",
        r'(\[\w+\]:\{type:"boolean",description:d\(\d+,null\),default:)!1(,scope:4\})',
        r"\1!0\2",
        "turns chat.disableAIFeatures on by default, as the chat extension and the agent host are not included",
    ),
    (
        "out/vs/code/browser/workbench/workbench.js",
        r'("workbench\.secondarySideBar\.defaultVisibility":\{type:"string",enum:\[[^]]*\],default:)"\w+"',
        r'\1"hidden"',
        "hides the side bar for the chat",
    ),
    (
        "out/server-main.js",
        r"serviceWorker:\{scope:\w+\+\"/\",path:\w+\+\"/_static/out/browser/serviceWorker\.js\"\},",
        "",
        "only code-server's own server serves it",
    ),
    (
        "out/server-main.js",
        r"(proxyEndpointTemplate:process\.env\.VSCODE_PROXY_URI)\?\?\w+\+\"/proxy/\{\{port\}\}/\"",
        r"\1",
        "only code-server's own server forwards ports; VSCODE_PROXY_URI names any other proxy",
    ),
    (
        "out/vs/code/browser/workbench/workbench.html",
        r'(?s)<link rel="apple-touch-icon".*pwa-icon-512\.png" />',
        '<link rel="apple-touch-icon" href="{{WORKBENCH_WEB_BASE_URL}}/resources/server/code-192.png" />',
        "only code-server's own server serves its icons",
    ),
    (
        "out/vs/code/browser/workbench/workbench.html",
        r'(?s)<link rel="icon".*favicon\.ico" type="image/x-icon" />',
        '<link rel="icon" href="{{WORKBENCH_WEB_BASE_URL}}/resources/server/favicon.ico" type="image/x-icon" />',
        "as above",
    ),
)

NODE = "/openhands/node/bin/node"
PLACE = "/openhands/vscode"


class AssemblyError(Exception):
    """The packages differ from what this script expects."""


def copy_module(source: Path, target: Path, keep: tuple[str, ...]) -> None:
    """Copies package.json, the licences and the files of a module that match ``keep``.

    Raises:
        AssemblyError: The module is missing, or a glob of ``keep`` (other than ``CODE``) matches nothing.
    """
    if not (source / "package.json").is_file():
        raise AssemblyError(f"{source}: no such module (update MODULES together with package.json)")
    files = {source / "package.json"}
    files.update(path for path in source.iterdir() if re.match(r"(?i)(licen[cs]e|notice)", path.name))
    for pattern in keep:
        found = [path for path in source.glob(pattern) if path.is_file()]
        if not found and keep is not CODE:
            raise AssemblyError(f"{source}: nothing matches {pattern}")
        files.update(found)
    for path in sorted(files):
        relative = path.relative_to(source)
        if relative.parts[0] in ("node_modules", "test", "tests", "example", "examples", "bench", "benchmark"):
            continue
        destination = target / relative
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, destination)


def compile_addon(modules: Path, target: Path, name: str, sources: tuple[str, ...], cxx: str, flags: list[str]) -> None:
    """Compiles a Node-API addon into ``build/Release``, with the settings of its binding.gyp.

    The sources are compiled as one unit, because their common headers take nearly all of the time.
    """
    folder = modules / name / "src"
    output = target / name / "build" / "Release" / f"{name.rpartition('-')[2].rpartition('/')[2]}.node"
    output.parent.mkdir(parents=True, exist_ok=True)
    text, seen = "", set[str]()
    for source in sources:
        for line in (folder / source).read_text(encoding="utf-8").splitlines():
            if line.startswith('#include "') and line in seen:  # the headers have no include guards
                continue
            seen.add(line)
            text += line + "\n"
    command = [cxx, "-shared", "-fPIC", "-O2", "-std=gnu++20", "-fvisibility=hidden", "-fstack-protector-strong"]
    command += ["-w", "-pthread", "-Wl,-z,relro,-z,now,-z,noexecstack,--build-id=none", "-s", f"-I{folder}", *flags]
    # With the build's path in the __FILE__ of assertions, the file would differ between machines.
    command += [f"-ffile-prefix-map={modules}=.", "-o", str(output), "-x", "c++", "-"]
    subprocess.run(command, check=True, input=text, text=True)


def forget_extensions(workbench: Path, names: set[str]) -> int:
    """Removes extensions from the list of built-in extensions in the browser's bundle.

    The list is an array of JavaScript object literals ``{extensionPath:"name",packageJSON:{…}}``. If an entry remained
    without its folder, the browser would request files that do not exist.

    Returns:
        How many were removed.
    """
    text = workbench.read_text(encoding="utf-8")
    count = 0
    for name in sorted(names):
        start = text.find(f'{{extensionPath:"{name}",packageJSON:{{')
        if start < 0:
            continue
        end = _literal_end(text, start)
        if text[end] == ",":
            end += 1
        elif text[start - 1] == ",":
            start -= 1
        text = text[:start] + text[end:]
        count += 1
    workbench.write_text(text, encoding="utf-8")
    return count


def _literal_end(text: str, start: int) -> int:
    """Returns the index after the object literal at ``start``. Handles strings, but not regular expressions."""
    depth, quote, index = 0, "", start
    while index < len(text):
        char = text[index]
        if quote:
            if char == "\\":
                index += 1
            elif char == quote:
                quote = ""
        elif char in "\"'`":
            quote = char
        elif char in "{[":
            depth += 1
        elif char in "}]":
            depth -= 1
            if depth == 0:
                return index + 1
        index += 1
    raise AssemblyError(f"the literal at {start} is not terminated")


def patch(vscode: Path) -> None:
    """Applies ``PATCHES``.

    Raises:
        AssemblyError: An expression does not match exactly once, so the patch must be reviewed for this version.
    """
    for name, expression, replacement, _why in PATCHES:
        file = vscode / name
        text, count = re.subn(expression, replacement, file.read_text(encoding="utf-8"))
        if count != 1:
            raise AssemblyError(f"{name}: {expression} matches {count} times, expected once")
        file.write_text(text, encoding="utf-8")


def write_commands(vscode: Path) -> None:
    """Writes the ``code`` and browser commands, which VS Code adds to the PATH of its integrated terminal."""
    product = json.loads((vscode / "product.json").read_text(encoding="utf-8"))
    call = f'"{NODE}" "{PLACE}/out/server-cli.js" code "{product["version"]}" "{product["commit"]}" code'
    for path, extra in (("bin/remote-cli/code", ""), ("bin/helpers/browser.sh", " --openExternal")):
        file = vscode / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'#!/bin/sh\nexec {call}{extra} "$@"\n', encoding="utf-8")


def write_device_id(node_modules: Path) -> None:
    """Writes a replacement for @vscode/deviceid, which stores a telemetry ID of the machine in the user's home.

    The server loads the module even if telemetry is off. If it is missing, every start prints a stack trace.
    """
    package = node_modules / "@vscode/deviceid"
    package.mkdir(parents=True)
    manifest = {"name": "@vscode/deviceid", "version": "0.0.0", "main": "index.js", "license": "MIT"}
    (package / "package.json").write_text(json.dumps(manifest) + "\n", encoding="utf-8")
    code = '"use strict";\nexports.getDeviceId = async () => require("node:crypto").randomUUID();\n'
    (package / "index.js").write_text(code, encoding="utf-8")


def configure(vscode: Path) -> None:
    """Changes the product settings: no telemetry, no automatic updates of extensions, no voice service."""
    file = vscode / "product.json"
    product = json.loads(file.read_text(encoding="utf-8"))
    product["enableTelemetry"] = False
    product["builtInExtensionsEnabledWithAutoUpdates"] = []  # Copilot's
    product.pop("voiceWsUrl", None)
    file.write_text(json.dumps(product, indent=1) + "\n", encoding="utf-8")


def assemble(code_server: Path, modules: Path, headers: Path, arch: str, cxx: str, out: Path) -> None:
    """Creates ``out``, the tree that becomes /openhands/vscode. ``main`` describes the arguments."""
    shutil.copytree(code_server / "lib" / "vscode", out)
    for name in CUT:
        target = out / name
        if not target.exists():
            raise AssemblyError(f"{target}: does not exist (listed in CUT)")
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    for name in EXTENSIONS_CUT:
        shutil.rmtree(out / "extensions" / name)
    doomed = [path for path in out.rglob("*") if path.suffix in CUT_SUFFIXES]
    doomed += [path for pattern in CUT_PATTERNS for path in out.glob(pattern)]
    for path in set(doomed):
        path.unlink()
    if forget_extensions(out / "out/vs/code/browser/workbench/workbench.js", set(EXTENSIONS_CUT)) != 1:
        raise AssemblyError("workbench.js: the list of built-in extensions has changed")

    patch(out)

    node_modules = out / "node_modules"
    for name, keep in MODULES.items():
        copy_module(modules / name, node_modules / name, keep)
    copy_module(modules / "typescript", out / "extensions/node_modules/typescript", TYPESCRIPT)

    # At the path of a local build, the watcher finds it regardless of which libc it detects in the base.
    watcher = node_modules / "@parcel/watcher/build/Release/watcher.node"
    watcher.parent.mkdir(parents=True)
    shutil.copyfile(modules / f"@parcel/watcher-linux-{arch}-glibc/watcher.node", watcher)
    pty = f"node-pty/prebuilds/linux-{arch}/pty.node"
    (node_modules / pty).parent.mkdir(parents=True)
    shutil.copyfile(modules / pty, node_modules / pty)
    rg = f"@vscode/ripgrep-universal/bin/linux-{arch}/rg"
    (node_modules / rg).parent.mkdir(parents=True)
    shutil.copyfile(modules / rg, node_modules / rg)

    spdlog = modules / "@vscode/spdlog"
    flags = [f"-I{headers}", "-DBUILDING_NODE_EXTENSION"]
    compile_addon(modules, node_modules, "@vscode/native-watchdog", ("watchdog.cc",), cxx, flags)
    flags += [f"-I{spdlog}/node_modules/node-addon-api", f"-I{spdlog}/deps/spdlog/include", "-DFMT_CONSTEVAL="]
    flags += ["-DNODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS", "-DNAPI_CPP_EXCEPTIONS", "-DNODE_GYP_MODULE_NAME=spdlog"]
    compile_addon(modules, node_modules, "@vscode/spdlog", ("main.cc", "logger.cc"), cxx, flags)

    write_device_id(node_modules)
    write_commands(out)
    configure(out)
    for path in sorted(out.rglob("*")):
        if path.is_symlink():
            raise AssemblyError(f"{path}: symlinks are not supported")
        runs = path.is_dir() or path.suffix == ".sh" or path.name == "rg" or path.parent.name == "remote-cli"
        path.chmod(0o755 if runs else 0o644)


def main() -> int:
    """Parses the arguments and assembles the server; exit code 1 if the packages are not as expected."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--code-server", type=Path, required=True, help="unpacked package code-server")
    parser.add_argument("--modules", type=Path, required=True, help="node_modules of package.json next to this file")
    parser.add_argument("--headers", type=Path, required=True, help="Node's include/node")
    parser.add_argument("--arch", choices=("x64", "arm64"), required=True, help="target architecture, as Node names it")
    parser.add_argument("--cxx", required=True, help="C++ compiler for the target")
    parser.add_argument("--out", type=Path, required=True, help="folder to create")
    arguments = parser.parse_args()
    try:
        assemble(**vars(arguments))
    except AssemblyError as error:
        print(f"assemble: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
