"""One URL gives both clients of Redis the same address, login and trust."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils.url import parse_url

from trainyard.redis_url import RedisUrl, parse_redis_url

VERIFIED = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}


@pytest.mark.parametrize(
    ("url", "address", "broker"),
    [
        ("redis://h", RedisUrl((("h", 6379),)), "redis://h:6379/0"),
        (
            "redis://:p%40ss%2Fw%3Ard%231@h:7000/5",
            RedisUrl((("h", 7000),), 5, password="p@ss/w:rd#1"),
            "redis://:p%40ss%2Fw%3Ard%231@h:7000/5",
        ),
        (
            "redis://user:pw@[::1]:7/2",
            RedisUrl((("::1", 7),), 2, username="user", password="pw"),
            "redis://user:pw@[::1]:7/2",
        ),
        ("redis://h?db=3", RedisUrl((("h", 6379),), 3), "redis://h:6379/3"),
        ("redis:///1", RedisUrl((("localhost", 6379),), 1), "redis://localhost:6379/1"),
        ("rediss://h/0", RedisUrl((("h", 6379),), tls=VERIFIED), "rediss://h:6379/0"),
        (
            "unix://:pw@/run/my%20redis.sock?db=4",
            RedisUrl((), 4, password="pw", path="/run/my redis.sock"),
            "redis+socket://:pw@/run/my%20redis.sock?virtual_host=4",
        ),
        (
            "sentinel://:pw@a,b:7/yard/2?sentinel_password=s",
            RedisUrl(
                (("a", 26379), ("b", 7)),
                2,
                password="pw",
                service="yard",
                sentinel_password="s",
            ),
            "sentinel://:pw@a:26379/2;sentinel://:pw@b:7/2",
        ),
    ],
)
def test_forms(url: str, address: RedisUrl, broker: str) -> None:
    assert parse_redis_url(url) == address
    assert address.broker_url == broker


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", VERIFIED),
        ("?ssl_cert_reqs=required", VERIFIED),
        ("?ssl_cert_reqs=CERT_REQUIRED", VERIFIED),
        ("?ssl_ca_certs=/ca.pem", VERIFIED | {"ssl_ca_certs": "/ca.pem"}),
        ("?ssl_check_hostname=false", VERIFIED | {"ssl_check_hostname": False}),
        ("?ssl_cert_reqs=none", {"ssl_cert_reqs": ssl.CERT_NONE, "ssl_check_hostname": False}),
        ("?ssl_cert_reqs=CERT_NONE", {"ssl_cert_reqs": ssl.CERT_NONE, "ssl_check_hostname": False}),
    ],
)
def test_tls_is_verified_unless_the_url_says_otherwise(
    words: str, expected: dict[str, object]
) -> None:
    found = parse_redis_url(f"rediss://h/0{words}")
    assert found.tls == found.broker_use_ssl == expected


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://h", "should be redis://"),
        ("redis", "should be redis://"),
        ("redis://:pa/ss@h", "percent-encode"),
        ("redis://:pa@ss@h", "percent-encode"),
        ("redis://:pa#ss@h", "percent-encode"),
        ("redis://:pa?ss@h", "percent-encode"),
        ("redis://h:port", "percent-encode"),
        ("redis://[::1", "percent-encode"),
        ("redis://h/jobs", "number of a database"),
        ("redis://h/-1", "number of a database"),
        (
            "redis://h?ssl_ca_certs=x",
            "'ssl_ca_certs' behind the '?': redis:// takes db, password_file",
        ),
        ("redis://h?password_file=/no/such", "password_file that cannot be read (No such file"),
        ("redis://h?password_file=/dev/null", "password_file that is empty"),
        ("redis://:pa@h?password_file=/dev/null", "a password and a password_file"),
        ("rediss://h?socket_timeout=3", "'socket_timeout'"),
        ("rediss://h?ssl_cert_reqs=some", "ssl_cert_reqs"),
        ("rediss://h?ssl_check_hostname=maybe", "ssl_check_hostname"),
        ("unix://run/r.sock", "whole path"),
        ("unix://", "whole path"),
        ("sentinel://a,b", "service"),
    ],
)
def test_refusals(url: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_redis_url(url)
    assert words in str(caught.value)
    assert "pa" not in str(caught.value).replace("path", "").replace("password", "")


@pytest.mark.parametrize("url", ["redis://h/2", "unix://user:@/run/r.sock", "sentinel://a/yard"])
def test_a_password_may_lie_in_a_file(url: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("p@ss/w:rd#1\n")
    found = parse_redis_url(f"{url}?password_file={secret}")
    assert found.password == "p@ss/w:rd#1"
    assert found.username == ("user" if "user" in url else None)
    assert "p%40ss%2Fw%3Ard%231@" in found.broker_url


def test_a_password_is_in_no_representation() -> None:
    address = parse_redis_url("sentinel://user:pass1@h/yard?sentinel_password=pass2")
    assert "pass1" not in repr(address)
    assert "pass2" not in repr(address)


@given(st.text(min_size=1, max_size=40), st.text(max_size=20), st.integers(0, 15))
def test_kombu_reads_the_same_login(password: str, user: str, database: int) -> None:
    url = f"redis://{quote(user, safe='')}:{quote(password, safe='')}@h:1/{database}"
    address = parse_redis_url(url)
    assert (address.username or "", address.password) == (user, password)
    read = parse_url(address.broker_url)
    assert (read["userid"] or "", read["password"], read["hostname"]) == (user, password, "h")
    assert read["virtual_host"] == str(database)
