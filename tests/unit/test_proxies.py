"""Proxies by the rules of Go's HTTP client. The table is that of golang.org/x/net/http/httpproxy's own tests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ohbuild.images.proxies import Proxies, UnusableProxy, without_password


def proxy(url: str, **environ: str) -> str | None:
    found = Proxies(environ).of(url)
    return found.url if found else None


@pytest.mark.parametrize(
    ("url", "no_proxy", "direct"),
    [
        ("http://example.com/", "", False),
        ("http://localhost/", "", True),
        ("http://127.0.0.1/", "", True),
        ("http://127.0.0.2:5000/", "", True),
        ("http://[::1]:5000/", "", True),
        ("http://192.168.1.1/", "192.168.1.1", True),
        ("http://192.168.1.2/", "192.168.1.1", False),
        ("http://10.0.0.2/", "10.0.0.0/8", True),
        ("http://11.0.0.2/", "10.0.0.0/8", False),
        ("http://[fd07:b51a:cc66:f0::1]/", "fd07:b51a:cc66:f0::/64", True),
        ("http://[fd07:b51a:cc66:f1::1]/", "fd07:b51a:cc66:f0::/64", False),
        ("http://[2001:db8::52:0:1]/", "2001:db8::52:0:1", True),
        ("http://[2001:db8::52:0:1]:80/", "[2001:db8::52:0:1]:80", True),
        ("http://[2001:db8::52:0:1]:443/", "[2001:db8::52:0:1]:80", False),
        ("http://example.com/", "[::1]", False),
        ("http://example.com/", "*", True),
        ("http://example.com/", "a, *", True),
        ("http://foobar.com/", "foobar.com", True),
        ("http://www.foobar.com/", "foobar.com", True),
        ("http://foofoobar.com/", "foobar.com", False),
        ("http://foobar.com/", ".foobar.com", False),
        ("http://www.foobar.com/", ".foobar.com", True),
        ("http://www.foobar.com/", "*.foobar.com", True),
        ("http://foobar.com/", "*.foobar.com", False),
        ("http://FOOBAR.com/", "foobar.COM", True),
        ("http://foobar.com:8080/", "foobar.com:8080", True),
        ("http://foobar.com/", "foobar.com:8080", False),
        ("https://foobar.com/", "foobar.com:443", True),
        ("http://example.com/", ":80,:1, ,", False),
        ("http://10.0.0.2.example/", "10.0.0.0/8", False),
        ("http://bücher.example/", "xn--bcher-kva.example", True),
    ],
)
def test_what_is_asked_directly(url: str, no_proxy: str, *, direct: bool) -> None:
    found = proxy(url, HTTP_PROXY="http://p:1", HTTPS_PROXY="http://p:1", NO_PROXY=no_proxy)
    assert found == (None if direct else "http://p:1")


def test_each_scheme_has_its_variable_and_capitals_come_first() -> None:
    assert proxy("http://a/", HTTP_PROXY="http://p:1") == "http://p:1"
    assert proxy("https://a/", HTTP_PROXY="http://p:1") is None
    assert proxy("https://a/", https_proxy="p:1") == "http://p:1"
    assert proxy("https://a/", HTTPS_PROXY="socks5://p:1", https_proxy="http://q:1") == "socks5://p:1"
    assert proxy("http://a/", ALL_PROXY="socks5://p:1", all_proxy="socks5://p:1") is None
    assert proxy("http://a/", HTTP_PROXY="http://p:1", no_proxy="a") is None
    assert proxy("http://a/", HTTP_PROXY=" ") is None


@pytest.mark.parametrize("value", ["socks4://p:1", "http://", "http://[p", "http://p:99999", "ftp://u:secret@p", "a b"])
def test_a_proxy_that_cannot_be_used_is_named_where_it_is_needed(value: str) -> None:
    with pytest.raises(UnusableProxy, match=r"^https_proxy=") as caught:
        proxy("https://a/", https_proxy=value)
    assert "secret" not in str(caught.value)
    assert proxy("http://a/", https_proxy=value) is None
    assert proxy("https://a/", https_proxy=value, NO_PROXY="a") is None


def test_a_cgi_program_does_not_take_a_proxy_from_its_client() -> None:
    with pytest.raises(UnusableProxy, match="REQUEST_METHOD"):
        proxy("http://a/", HTTP_PROXY="http://p:1", REQUEST_METHOD="GET")
    assert proxy("https://a/", HTTPS_PROXY="http://p:1", REQUEST_METHOD="GET") == "http://p:1"


@given(st.text(), st.text(), st.sampled_from(["http", "https"]))
def test_no_value_breaks_it(one: str, other: str, scheme: str) -> None:
    try:
        found = proxy(f"{scheme}://registry.example:5000/", HTTP_PROXY=one, HTTPS_PROXY=one, NO_PROXY=other)
    except UnusableProxy:
        return
    assert found is None or found.partition("://")[0] in ("http", "https", "socks5", "socks5h")


def test_passwords_are_not_shown() -> None:
    assert without_password("http://me:secret@p:1") == "http://…@p:1"
    assert without_password("me:secret@p:1") == "…@p:1"
    assert without_password("p:1") == "p:1"
