"""Our curl and wget find the CA certificates that the base trusts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "dockerfiles/components/tools/oh-fetch"
OURS = "/openhands/etc/ssl/certs/ca-certificates.crt"
DEBIAN = "etc/ssl/certs/ca-certificates.crt"
FEDORA = "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"


@pytest.mark.parametrize(
    ("bundles", "environ", "curl", "wget"),
    [
        ([], {}, OURS, f"--ca-certificate={OURS} "),
        ([DEBIAN], {}, "", ""),
        ([FEDORA], {}, FEDORA, f"--ca-certificate={FEDORA} "),
        ([], {"SSL_CERT_FILE": "/own"}, "", "--ca-certificate=/own "),
        ([], {"CURL_CA_BUNDLE": "/own"}, "/own", f"--ca-certificate={OURS} "),
    ],
)
def test_where_the_certificates_come_from(
    tmp_path: Path, bundles: list[str], environ: dict[str, str], curl: str, wget: str
) -> None:
    # The script's paths, below a folder.
    text = SCRIPT.read_text().replace(" /etc/", f" {tmp_path}/etc/").replace("/openhands/tools", f"{tmp_path}/tools")
    for name in bundles:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "tools/bin").mkdir(parents=True)
    for name in ("curl", "wget"):
        (tmp_path / name).write_text(text.replace("#!/openhands/libexec/sh", "#!/bin/sh"))
        (tmp_path / "tools/bin" / name).write_text('#!/bin/sh\nprintf "%s|%s " "${CURL_CA_BUNDLE-}" "$*"\n')
        for path in (tmp_path / name, tmp_path / "tools/bin" / name):
            path.chmod(0o755)

    def run(name: str) -> str:
        words = [str(tmp_path / name), "https://x"]
        return subprocess.run(words, env=environ, capture_output=True, text=True, check=True).stdout

    def placed(text: str) -> str:
        return text.replace(FEDORA, f"{tmp_path}/{FEDORA}") if FEDORA in bundles else text

    assert run("curl") == f"{placed(curl)}|https://x "
    assert run("wget") == f"{environ.get('CURL_CA_BUNDLE', '')}|{placed(wget)}https://x "
