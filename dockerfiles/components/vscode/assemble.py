#!/usr/bin/env python3
"""Puts the VS Code server together: code-server's ``lib/vscode`` plus the node modules it loads, less the rest.

Runs in the build, on the build platform, for any target; it executes nothing of what it assembles. As npm installs it,
code-server is 617 MB; what OpenHands starts is ``lib/vscode/out/server-main.js``, and that needs a tenth of it.

Node modules are named one by one in ``MODULES`` (npm's dependency closure is no measure: VS Code bundles most of its
code into ``out/`` and imports only a few packages by name, in the server, the extension host, the terminal host, the
file watcher and the browser). A module that a later version needs is missed at start, and the conformance test sees it.
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

# Module -> the files to keep besides package.json and licences.
MODULES: dict[str, tuple[str, ...]] = {
    # server-main.js imports its telemetry client statically, even with telemetry off.
    "@microsoft/1ds-core-js": ("dist/ms.core.js",),
    "@microsoft/applicationinsights-core-js": ("dist/applicationinsights-core-js.js",),
    "@microsoft/applicationinsights-shims": ("dist/umd/applicationinsights-shims.js",),
    "@microsoft/dynamicproto-js": ("lib/dist/node/dynamicproto-js.js",),
    # The file watcher's process.
    "@parcel/watcher": ("index.js", "wrapper.js"),
    "detect-libc": ("lib/*.js",),
    "is-extglob": CODE,
    "is-glob": CODE,
    "picomatch": CODE,
    # Logs, and the extension host's watch over its parent; both compiled here.
    "@vscode/native-watchdog": ("index.js",),
    "@vscode/spdlog": ("index.js",),
    "bindings": CODE,
    "file-uri-to-path": ("index.js",),
    "mkdirp": CODE,
    # The git extension's only module; plain JavaScript on Linux.
    "@vscode/fs-copyfile": ("lib/*.js",),
    # Search.
    "@vscode/ripgrep-universal": ("lib/index.js",),
    # Terminals.
    "node-pty": ("lib/*.js", "lib/shared/*.js"),
    "@xterm/headless": ("lib-headless/xterm-headless.js",),
    # HTTP in the server and in the extension host, behind a proxy or not.
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
    # What the browser fetches from under _static/node_modules; addons are loaded by the terminal host too.
    "@vscode/iconv-lite-umd": ("lib/iconv-lite-umd.js",),
    # Its parsers serve editor.experimental.preferTreeSitter.*, of which the settings offer these four languages.
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

# Of TypeScript (24 MB) the language server and its libraries; not the compiler's command, not the translations.
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

# Built-in extensions that go, with why.
EXTENSIONS_CUT = {
    "copilot": "41 MB; needs a GitHub account and its own 200 MB SDK",
    "mermaid-markdown-features": "47 MB: three copies of the same diagram library",
    "microsoft-authentication": "signs in to Microsoft; loads native libraries of the desktop",
    "tunnel-forwarding": "calls the desktop's `code tunnel`, which is not here",
}

# Files and folders under lib/vscode that go.
CUT = (
    # The agent host runs Copilot's and other vendors' agents; their SDKs are not here.
    "out/vs/platform/agentHost",
    # 12 voices of the same product, 2 MB that do not compress.
    "out/vs/workbench/contrib/agentsVoice",
    # Command files for macOS and Windows; remote-cli and helpers are written anew below.
    "bin",
    "npm-shrinkwrap.json",
    "extensions/npm-shrinkwrap.json",
    "extensions/package.json",
    "extensions/postinstall.mjs",
    "extensions/markdown-language-features/markdown-editor-src",
)

# Windows' libraries, build leftovers and debugging aids, wherever they are.
CUT_SUFFIXES = (".map", ".obj", ".pdb", ".lib", ".exe", ".cmd", ".bat", ".win32-x64-msvc", ".tsbuildinfo")
CUT_PATTERNS = ("extensions/**/*win32*.node", "extensions/*/ThirdPartyNotices.txt", "extensions/*/CHANGELOG.md")

# Changes to files that have no setting for it: (file, regular expression that must match once, replacement, why).
PATCHES = (
    (
        "out/vs/code/browser/workbench/workbench.js",
        r'(\[\w+\]:\{type:"boolean",description:d\(\d+,null\),default:)!1(,scope:4\})',
        r"\1!0\2",
        "chat.disableAIFeatures is on by default, as the chat's extension and agent host are not here",
    ),
    (
        "out/vs/code/browser/workbench/workbench.js",
        r'("workbench\.secondarySideBar\.defaultVisibility":\{type:"string",enum:\[[^]]*\],default:)"\w+"',
        r'\1"hidden"',
        "the side bar that the chat would be in",
    ),
    (
        "out/server-main.js",
        r"serviceWorker:\{scope:\w+\+\"/\",path:\w+\+\"/_static/out/browser/serviceWorker\.js\"\},",
        "",
        "code-server's own server would serve it",
    ),
    (
        "out/server-main.js",
        r"(proxyEndpointTemplate:process\.env\.VSCODE_PROXY_URI)\?\?\w+\+\"/proxy/\{\{port\}\}/\"",
        r"\1",
        "code-server's own server would forward ports; whoever runs another proxy names it in VSCODE_PROXY_URI",
    ),
    (
        "out/vs/code/browser/workbench/workbench.html",
        r'(?s)<link rel="apple-touch-icon".*pwa-icon-512\.png" />',
        '<link rel="apple-touch-icon" href="{{WORKBENCH_WEB_BASE_URL}}/resources/server/code-192.png" />',
        "code-server's own server would serve its icons",
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
    """The packages are not as this script knows them."""


def copy_module(source: Path, target: Path, keep: tuple[str, ...]) -> None:
    """Copies package.json, the licence and the files that match ``keep`` (globs below ``source``); each must match."""
    if not (source / "package.json").is_file():
        raise AssemblyError(f"{source}: no such module; was package.json changed without this script?")
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
    """Compiles a Node-API addon with its binding.gyp's settings, for the target of ``cxx``, into ``build/Release``.

    All sources go through the compiler as one: nearly all its time goes to their common headers.
    """
    folder = modules / name / "src"
    output = target / name / "build" / "Release" / f"{name.rpartition('-')[2].rpartition('/')[2]}.node"
    output.parent.mkdir(parents=True, exist_ok=True)
    text, seen = "", set[str]()
    for source in sources:
        for line in (folder / source).read_text(encoding="utf-8").splitlines():
            if line.startswith('#include "') and line in seen:  # its headers have no include guard
                continue
            seen.add(line)
            text += line + "\n"
    command = [cxx, "-shared", "-fPIC", "-O2", "-std=gnu++20", "-fvisibility=hidden", "-fstack-protector-strong"]
    command += ["-w", "-pthread", "-Wl,-z,relro,-z,now,-z,noexecstack,--build-id=none", "-s", f"-I{folder}", *flags]
    # A path of the build in an assert's __FILE__ would make the file differ from machine to machine.
    command += [f"-ffile-prefix-map={modules}=.", "-o", str(output), "-x", "c++", "-"]
    subprocess.run(command, check=True, input=text, text=True)


def forget_extensions(workbench: Path, names: set[str]) -> int:
    """Removes extensions from the list of built-in ones that the browser's bundle carries; returns how many.

    The list is an array of JavaScript object literals ``{extensionPath:"name",packageJSON:{…}}``. One that stays there
    without its folder would make the browser fetch files that do not exist.
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
    """The index after the object literal that begins at ``start``; knows strings, not regular expressions."""
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
    raise AssemblyError(f"no end of the literal at {start}")


def patch(vscode: Path) -> None:
    """Applies ``PATCHES``; a text that is not there as expected fails the build, so that an upgrade looks at it."""
    for name, expression, replacement, _why in PATCHES:
        file = vscode / name
        text, count = re.subn(expression, replacement, file.read_text(encoding="utf-8"))
        if count != 1:
            raise AssemblyError(f"{name}: {count} matches of {expression}")
        file.write_text(text, encoding="utf-8")


def write_commands(vscode: Path) -> None:
    """The ``code`` and browser commands of the integrated terminal, which VS Code puts on its PATH."""
    product = json.loads((vscode / "product.json").read_text(encoding="utf-8"))
    call = f'"{NODE}" "{PLACE}/out/server-cli.js" code "{product["version"]}" "{product["commit"]}" code'
    for path, extra in (("bin/remote-cli/code", ""), ("bin/helpers/browser.sh", " --openExternal")):
        file = vscode / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'#!/bin/sh\nexec {call}{extra} "$@"\n', encoding="utf-8")


def write_device_id(node_modules: Path) -> None:
    """Stands in for @vscode/deviceid, which keeps an identity of the machine for telemetry in the user's home.

    The server asks for it even with telemetry off, and prints a stack trace at every start where the module is missing.
    """
    package = node_modules / "@vscode/deviceid"
    package.mkdir(parents=True)
    manifest = {"name": "@vscode/deviceid", "version": "0.0.0", "main": "index.js", "license": "MIT"}
    (package / "package.json").write_text(json.dumps(manifest) + "\n", encoding="utf-8")
    code = '"use strict";\nexports.getDeviceId = async () => require("node:crypto").randomUUID();\n'
    (package / "index.js").write_text(code, encoding="utf-8")


def configure(vscode: Path) -> None:
    """Product settings: no telemetry, no voice service of a product that is not here."""
    file = vscode / "product.json"
    product = json.loads(file.read_text(encoding="utf-8"))
    product["enableTelemetry"] = False
    product["builtInExtensionsEnabledWithAutoUpdates"] = []  # Copilot's
    product.pop("voiceWsUrl", None)
    file.write_text(json.dumps(product, indent=1) + "\n", encoding="utf-8")


def assemble(code_server: Path, modules: Path, headers: Path, arch: str, cxx: str, out: Path) -> None:
    """Makes the tree ``out`` (the later /openhands/vscode) for Node's architecture ``arch`` (``x64``, ``arm64``)."""
    shutil.copytree(code_server / "lib" / "vscode", out)
    for name in CUT:
        target = out / name
        if not target.exists():
            raise AssemblyError(f"{target}: to be cut, but not there")
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    for name in EXTENSIONS_CUT:
        shutil.rmtree(out / "extensions" / name)
    doomed = [path for path in out.rglob("*") if path.suffix in CUT_SUFFIXES]
    doomed += [path for pattern in CUT_PATTERNS for path in out.glob(pattern)]
    for path in set(doomed):
        path.unlink()
    if forget_extensions(out / "out/vs/code/browser/workbench/workbench.js", set(EXTENSIONS_CUT)) != 1:
        raise AssemblyError("workbench.js: its list of built-in extensions looks different")

    patch(out)

    node_modules = out / "node_modules"
    for name, keep in MODULES.items():
        copy_module(modules / name, node_modules / name, keep)
    copy_module(modules / "typescript", out / "extensions/node_modules/typescript", TYPESCRIPT)

    # At the place of a local build: there the watcher finds it whatever libc it takes the base's to be.
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
            raise AssemblyError(f"{path}: a symbolic link")
        runs = path.is_dir() or path.suffix == ".sh" or path.name == "rg" or path.parent.name == "remote-cli"
        path.chmod(0o755 if runs else 0o644)


def main() -> int:
    """Parses the arguments and assembles."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--code-server", type=Path, required=True, help="unpacked package code-server")
    parser.add_argument("--modules", type=Path, required=True, help="node_modules of package.json beside this file")
    parser.add_argument("--headers", type=Path, required=True, help="Node's include/node")
    parser.add_argument("--arch", choices=("x64", "arm64"), required=True, help="target, in Node's words")
    parser.add_argument("--cxx", required=True, help="C++ compiler for the target")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    arguments = parser.parse_args()
    try:
        assemble(**vars(arguments))
    except AssemblyError as error:
        print(f"assemble: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
