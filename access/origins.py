"""Whether a browser's request comes from our own pages: for what browsers send along unasked, cookies above all."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.http import HttpRequest

from rauskuclaw.config import load

_DEFAULT_PORTS = {"http": 80, "https": 443}


def is_own_origin(request: HttpRequest, origin: str) -> bool:
    """Whether `origin` is this server's own (scheme, host and port) or one of TRUSTED_ORIGINS.

    False for `null`, for the empty text and for anything that is no origin. Raises DisallowedHost as `get_host()` does.
    """
    theirs = _parts(origin)
    ours = (f"{request.scheme}://{request.get_host()}", *load().trusted_origins)
    return theirs is not None and any(theirs == _parts(one) for one in ours)


def _parts(origin: str) -> tuple[str, str, int | None] | None:
    try:
        url = urlsplit(origin)
        port = url.port or _DEFAULT_PORTS.get(url.scheme)
    except ValueError:
        return None
    if url.scheme not in _DEFAULT_PORTS or not url.hostname or url.path or url.query or url.username is not None:
        return None
    return url.scheme, url.hostname, port
