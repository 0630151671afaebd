"""What may be asked: the rules of `rauskuclaw.netguard` for URLs, host names and addresses. No I/O."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Which addresses are not public (IANA's special-purpose registries, and cloud metadata at a public-looking address).
# Written out because `ipaddress.is_global` differs between Python versions. The first match counts.
_SPECIAL = [
    (ipaddress.ip_network(network), kind)
    for kind, networks in {
        "cloud metadata": "169.254.169.254/32 fd00:ec2::254/128 168.63.129.16/32 100.100.100.200/32 192.0.0.192/32",
        "loopback": "127.0.0.0/8 ::1/128",
        "private": "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 fc00::/7 fec0::/10",
        "unspecified": "0.0.0.0/8 ::/128",
        "link-local": "169.254.0.0/16 fe80::/10",
        "multicast": "224.0.0.0/4 ff00::/8",
        # Another address travels inside: mapped, compatible, NAT64, 6to4 and its relays, Teredo.
        "tunnelled": "::ffff:0:0/96 ::/96 64:ff9b::/96 64:ff9b:1::/48 2002::/16 192.88.99.0/24 2001::/32",
        "reserved": "192.0.0.0/24 192.0.2.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4"
        " 2001::/23 2001:db8::/32 3fff::/20",
    }.items()
    for network in networks.split()
]
_GLOBAL_IPV6 = ipaddress.ip_network("2000::/3")
_MAY_BE_LISTED = frozenset({"loopback", "private"})
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\Z")
_ENDS_IN_NUMBER = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)\Z")


class BlockedUrl(Exception):
    """The URL may not be asked. `reason` says why, in words a job's owner may read: never a resolved address."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True)
class ParsedUrl:
    """A well-formed http(s) URL.

    url: what to request. Its host is `host`.
    host: lower case, ASCII (IDNA), no trailing dot; an address is in its usual form, IPv6 without brackets.
    """

    url: httpx.URL
    host: str

    @property
    def address(self) -> Address | None:
        """The address, where the URL names one instead of a host name."""
        return as_address(self.host)


def kind_of(address: Address) -> str:
    """`public`, or what else the address is: `loopback`, `private`, `cloud metadata`, …"""
    for network, kind in _SPECIAL:
        if address in network:
            return kind
    return "public" if address.version == 4 or address in _GLOBAL_IPV6 else "reserved"


def parse_url(url: str) -> ParsedUrl:
    """Read `url` as the client will, so that no second parser can see another host in it.

    Raises BlockedUrl: not absolute http(s), user info, a backslash, or a host that is no valid name or address.
    Addresses written as decimal, octal, hex or short forms (`0x7f.1`) come out in their usual form.
    """
    if "\\" in url:
        raise BlockedUrl("the URL has a backslash")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise BlockedUrl("the URL is malformed") from None
    if parsed.scheme not in {"http", "https"}:
        raise BlockedUrl("the URL is not an absolute http or https URL")
    if parsed.userinfo:
        raise BlockedUrl("the URL carries a user name or password")
    host = _normal_host(parsed.raw_host.decode("ascii"))
    if parsed.port is not None and not 0 < parsed.port < 65536:
        raise BlockedUrl("the URL has an impossible port")
    return ParsedUrl(parsed.copy_with(host=host), host)


def check_url(url: str, *, private_hosts: frozenset[str] = frozenset()) -> ParsedUrl:
    """`parse_url`, and the address check where the URL names an address. Names are checked when they are resolved."""
    parsed = parse_url(url)
    if (address := parsed.address) is not None:
        check_address(address, listed=parsed.host in private_hosts)
    return parsed


def host_allowed(host: str, allowlist: Iterable[str]) -> bool:
    """Whether `host` equals an entry or is a sub-domain of one; case and trailing dots do not matter."""
    entries = listed_hosts(allowlist)
    return any(own == entry or own.endswith(f".{entry}") for own in listed_hosts([host]) for entry in entries)


def listed_hosts(allowlist: Iterable[str]) -> frozenset[str]:
    """An operator's allowlist, its entries in the form of `ParsedUrl.host`; these hosts may be private ones."""
    hosts = set()
    for entry in allowlist:
        with suppress(BlockedUrl, httpx.InvalidURL):
            hosts.add(
                _normal_host(httpx.URL("http://host/").copy_with(host=entry.strip("[]")).raw_host.decode("ascii"))
            )
    return frozenset(hosts)


def _normal_host(host: str) -> str:
    host = host.lower().removesuffix(".")
    if ":" in host and "%" not in host:  # an address with a zone is link-local
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            raise BlockedUrl("the URL's host is no valid address") from None
    if not _HOST.match(host):
        raise BlockedUrl("the URL's host is no valid name")
    if _ENDS_IN_NUMBER.match(host):
        # Only what C's inet_aton reads is an address; anything else that ends in a number is nobody's name.
        try:
            return str(ipaddress.IPv4Address(socket.inet_aton(host)))
        except OSError:
            raise BlockedUrl("the URL's host is no valid address") from None
    return host


def as_address(text: str) -> Address | None:
    """The address that `text` is, or None where it is a name."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def check_address(address: Address, *, listed: bool) -> None:
    """Raises BlockedUrl unless the address is public, or loopback or private and its host is listed as such."""
    kind = kind_of(address)
    if kind != "public" and not (listed and kind in _MAY_BE_LISTED):
        raise BlockedUrl(f"the URL's host has a {kind} address")
