"""What may be asked: URLs, hosts and addresses."""

import pytest

from rauskuclaw.netguard import BlockedUrl, check_url, host_allowed, listed_hosts

HOSTILE = """
    file:///etc/passwd
    ftp://example.com/
    gopher://example.com/
    javascript:alert(1)
    unix:///var/run/docker.sock
    //example.com/
    example.com
    http:example.com
    http:///path
    http://:80/
    http://user@example.com/
    http://user:password@example.com/
    http://example.com@127.0.0.1/
    http://example.com\\@127.0.0.1/
    http://127.0.0.1\\.example.com/
    http://exa mple.com/
    http://example.com:0/
    http://example.com:99999/
    http://a..b/
    http://%31%32%37.0.0.1/
    http://127.0.0.1/
    http://127.0.0.1./
    http://127.255.255.254:8080/
    http://127.1/
    http://127.0.1/
    http://2130706433/
    http://0x7f000001/
    http://0X7F.0.0.1/
    http://0x7f.1/
    http://017700000001/
    http://0177.0.0.1/
    http://127。0。0。1/
    http://１２７.0.0.1/
    http://①②⑦.0.0.1/
    http://1.2.3.4.5/
    http://256.1.1.1/
    http://foo.0x1/
    http://0/
    http://0.0.0.0/
    http://10.0.0.1/
    http://0xa.1/
    http://172.16.0.1/
    http://172.31.255.255/
    http://192.168.0.1/
    http://100.64.0.1/
    http://100.127.255.254/
    http://169.254.169.254/latest/meta-data/
    http://2852039166/
    http://169.254.1.1/
    http://168.63.129.16/
    http://100.100.100.200/
    http://192.0.0.192/
    http://192.0.2.1/
    http://198.18.0.1/
    http://192.88.99.1/
    http://224.0.0.1/
    http://240.0.0.1/
    http://255.255.255.255/
    http://[::1]/
    http://[0:0:0:0:0:0:0:1]/
    http://[::]/
    http://[::ffff:127.0.0.1]/
    http://[::ffff:7f00:1]/
    http://[::ffff:8.8.8.8]/
    http://[::127.0.0.1]/
    http://[64:ff9b::7f00:1]/
    http://[64:ff9b::808:808]/
    http://[64:ff9b:1::1]/
    http://[2002:7f00:1::]/
    http://[2001::1]/
    http://[2001:db8::1]/
    http://[fd00:ec2::254]/
    http://[fd12:3456::1]/
    http://[fe80::1]/
    http://[fe80::1%25eth0]/
    http://[fec0::1]/
    http://[ff02::1]/
    http://[4000::1]/
    http://[::1
    http://[v1.a]/
""".strip().splitlines()


@pytest.mark.parametrize("url", [line.strip() for line in HOSTILE])
def test_a_hostile_url_is_blocked(url: str) -> None:
    with pytest.raises(BlockedUrl):
        check_url(url)


@pytest.mark.parametrize(
    "text", ["", " http://example.com/", "http://example.com/\r\nx: y", "http://\x00/", "http://" + "a" * 64]
)
def test_a_url_that_is_none_is_blocked(text: str) -> None:
    with pytest.raises(BlockedUrl):
        check_url(text)


@pytest.mark.parametrize(
    ("url", "normal"),
    {
        "http://example.com": "http://example.com",
        "HTTPS://Example.COM.:8443/a?b=c@d": "https://example.com:8443/a?b=c@d",
        "http://bücher.example/": "http://xn--bcher-kva.example/",
        "http://134744072/": "http://8.8.8.8/",
        "http://0x08.8.0x808/": "http://8.8.8.8/",
        "http://[2606:4700::0:1111]:80/x": "http://[2606:4700::1111]/x",
        "http://my_service-1:9/": "http://my_service-1:9/",
        "http://127.0.0.1.nip.example/": "http://127.0.0.1.nip.example/",
    }.items(),
)
def test_a_public_url_comes_out_in_one_normal_form(url: str, normal: str) -> None:
    assert str(check_url(url).url) == normal


@pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3", "192.168.1.1", "100.64.0.7", "[::1]", "[fd12::1]"])
def test_a_listed_host_may_have_a_loopback_or_private_address(host: str) -> None:
    check_url(f"http://{host}/", private_hosts=listed_hosts([host]))


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "169.254.0.1", "0.0.0.0", "224.0.0.1", "[::ffff:127.0.0.1]", "[fe80::1]"]
)
def test_listing_opens_neither_metadata_nor_other_special_addresses(host: str) -> None:
    with pytest.raises(BlockedUrl):
        check_url(f"http://{host}/", private_hosts=listed_hosts([host]))


def test_a_listed_address_is_recognised_in_every_form() -> None:
    assert check_url("http://0x7f.1/", private_hosts=listed_hosts(["127.0.0.1"])).host == "127.0.0.1"


def test_the_reason_names_no_address() -> None:
    with pytest.raises(BlockedUrl) as caught:
        check_url("http://10.11.12.13/")

    assert caught.value.reason == "the URL's host has a private address"


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("example.com", True),
        ("EXAMPLE.com.", True),
        ("a.b.example.com", True),
        ("bücher.de", True),
        ("xn--bcher-kva.de", True),
        ("[::1]", False),
        ("badexample.com", False),
        ("example.com.evil.test", False),
        ("com", False),
        ("", False),
        (".example.com", False),
        ("1.10.0.0.1", False),
    ],
)
def test_a_host_is_allowed_when_it_equals_an_entry_or_is_below_it(host: str, allowed: bool) -> None:
    assert host_allowed(host, ["Example.com", "bücher.de", "10.0.0.1", "", "not a host"]) is allowed


def test_an_empty_allowlist_allows_nothing() -> None:
    assert not host_allowed("example.com", [])
