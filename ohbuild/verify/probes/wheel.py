"""Builds a tiny wheel (PEP 427) in a temporary folder and prints its path."""

import pathlib
import tempfile
import zipfile

folder = pathlib.Path(tempfile.mkdtemp())
folder.chmod(0o755)  # the agent may be another user
path = folder / "ohbuild_verify-1-py3-none-any.whl"
info = "ohbuild_verify-1.dist-info"
files = {
    "ohbuild_verify.py": 'ANSWER = "six by nine"\n',
    f"{info}/METADATA": "Metadata-Version: 2.1\nName: ohbuild-verify\nVersion: 1\n",
    f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: ohbuild\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
with zipfile.ZipFile(path, "w") as wheel:
    for name, text in files.items():
        wheel.writestr(name, text)
    wheel.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD")))
print(path)
