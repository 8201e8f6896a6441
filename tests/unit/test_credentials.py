"""Credentials as the docker client finds them."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ohbuild.images.credentials import AUTH_VARIABLE, Credentials, CredentialsError, HelperError, Login, hostname

AUTH = base64.b64encode(b"me:se:cret").decode()
ME = Login("me", "se:cret")


def credentials(folder: Path, config: object, **environ: str) -> Credentials:
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return Credentials(folder, {"PATH": f"{folder}:{os.environ['PATH']}", **environ}, seconds=1)


def helper(folder: Path, text: str, name: str = "test") -> None:
    program = folder / f"docker-credential-{name}"
    program.write_text(f"#!/bin/sh\nread host\n{text}\n")
    program.chmod(0o755)


@pytest.mark.parametrize("key", ["a.b:5000", "https://a.b:5000", "https://a.b:5000/v2/", "http://a.b:5000/v1/"])
def test_the_key_of_a_registry_may_be_a_url(tmp_path: Path, key: str) -> None:
    found = credentials(tmp_path, {"auths": {"https://a.b/": {"auth": "eDp5"}, key: {"auth": AUTH}}})
    assert found.get("a.b:5000") == ME
    assert found.get("c.d") is None


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"auth": AUTH}, ME),
        ({"username": "me", "password": "se:cret"}, ME),
        ({"auth": AUTH, "username": "other", "password": "x"}, ME),
        ({"auth": base64.b64encode(b"me:se:cret\0\0").decode()}, ME),
        ({"identitytoken": "t"}, Login(identity_token="t")),
        ({"auth": AUTH, "identitytoken": "t"}, Login("me", "se:cret", identity_token="t")),
        ({"registrytoken": "t"}, Login(registry_token="t")),
        ({"auth": None, "username": None}, None),
        ({}, None),
        (None, None),
    ],
)
def test_entries(tmp_path: Path, entry: Any, expected: Login | None) -> None:
    assert credentials(tmp_path, {"auths": {"a.b": entry}}).get("a.b") == expected


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("[]", "is not a JSON object"),
        ({"auths": []}, "`auths` is not an object"),
        ({"auths": {"a.b": "x"}}, "the entry of a.b is not an object"),
        ({"auths": {"a.b": {"auth": 1}}}, "`auth` of a.b is not a string"),
        ({"auths": {"a.b": {"auth": "%"}}}, "`auth` of a.b is not Base64"),
        ({"auths": {"a.b": {"auth": "YQ=="}}}, "`auth` of a.b is not Base64 of user:password"),
        ({"credsStore": 1}, "the name of a credential helper is not a string"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, config: object, reason: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        credentials(tmp_path, config).get("a.b")
    assert str(caught.value).startswith(str(tmp_path / "config.json"))
    assert reason in str(caught.value)
    assert not isinstance(caught.value, HelperError)


@pytest.mark.parametrize(
    "config", [{}, {"auths": None}, {"auths": {}, "credHelpers": None, "credsStore": ""}, {"credHelpers": []}]
)
def test_nothing_is_no_login(tmp_path: Path, config: object) -> None:
    assert credentials(tmp_path, config).get("a.b") is None
    assert Credentials(tmp_path / "nowhere", {}).get("a.b") is None


def test_the_variable_comes_first_and_the_file_after_it(tmp_path: Path) -> None:
    value = json.dumps({"auths": {"a.b": {"auth": AUTH}}})
    found = credentials(
        tmp_path, {"auths": {"a.b": {"auth": "eDp5"}, "c.d": {"auth": "eDp5"}}}, **{AUTH_VARIABLE: value}
    )
    assert found.get("a.b") == ME
    assert found.get("c.d") == Login("x", "y")
    with pytest.raises(CredentialsError, match=rf"^\${AUTH_VARIABLE} is not valid JSON"):
        credentials(tmp_path, {}, **{AUTH_VARIABLE: "{"}).get("a.b")


def test_a_helper_is_asked_for_its_registry_or_for_all(tmp_path: Path) -> None:
    helper(tmp_path, 'echo "{\\"Username\\": \\"me\\", \\"Secret\\": \\"$host!\\"}"')
    helper(tmp_path, 'echo "{\\"Username\\": \\"<token>\\", \\"Secret\\": \\"t\\"}"', "token")
    found = credentials(
        tmp_path, {"credHelpers": {"a.b": "test"}, "credsStore": "token", "auths": {"a.b": {"auth": AUTH}}}
    )
    assert found.get("a.b") == Login("me", "a.b!")
    assert found.get("c.d") == Login(identity_token="t")


def test_a_helper_without_credentials_is_no_login(tmp_path: Path) -> None:
    helper(tmp_path, "echo 'credentials not found in native keychain'; exit 1")
    assert credentials(tmp_path, {"credsStore": "test", "auths": {"a.b": {"auth": AUTH}}}).get("a.b") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "echo first >&2; echo 'the keychain is locked\x1b[31m' >&2; exit 1",
            "failed: the keychain is locked\\x1b[31m",
        ),
        ("exec sleep 20", "did not respond within 1 s"),
        ("echo nonsense", "printed no credentials"),
        ('echo \'{"Username": 1, "Secret": null}\'', "printed no credentials"),
        (None, "is not installed, but"),
    ],
)
def test_a_helper_that_does_not_work_is_named(tmp_path: Path, text: str | None, reason: str) -> None:
    if text is not None:
        helper(tmp_path, text)
    with pytest.raises(HelperError) as caught:
        credentials(tmp_path, {"credsStore": "test"}).get("a.b")
    assert str(caught.value).startswith("credential helper docker-credential-test ")
    assert reason in str(caught.value)


def test_a_helper_cannot_be_a_path(tmp_path: Path) -> None:
    with pytest.raises(HelperError, match="is not the name of a credential helper"):
        credentials(tmp_path, {"credsStore": "../x"}).get("a.b")


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    found = credentials(tmp_path, "\ufeff" + json.dumps({"auths": {"a.b": {"auth": AUTH}}}))
    assert found.get("a.b") == ME


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["a.b", "auth", "x"]), inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.fixed_dictionaries({}, optional={"auths": JSON, "credHelpers": JSON}))
def test_any_types_give_credentials_or_an_error_that_names_the_file(tmp_path: Path, config: object) -> None:
    reason = ""
    try:
        credentials(tmp_path, config).get("a.b")
    except CredentialsError as error:
        reason = str(error)
    assert not reason or "config.json" in reason


def test_hostnames() -> None:
    assert [hostname(key) for key in ("a.b:1", "https://a.b/v2/", "http://a.b", "https://index.docker.io/v1/")] == [
        "a.b:1", "a.b", "a.b", "index.docker.io",
    ]  # fmt: skip
