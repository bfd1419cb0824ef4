"""Who may call: which host names this server answers to, which pages may call it, and the token.

A browser sends requests for any page, and some, such as a ``text/plain`` POST, without asking
first. So a request is refused by what the browser says of it: ``Host`` (against a page that
points its own name at this server), ``Origin`` and ``Sec-Fetch-Site`` (against pages of other
sites). flask-cors only adds headers; refusing is done here.
"""

import hmac
import ipaddress
import re
from urllib.parse import urlsplit

from flask import Flask, Request, Response, request
from flask_cors.core import get_cors_options, set_cors_headers

from .errors import error_response
from .settings import Settings

HEALTH_PATH = "/api/health"

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?", re.ASCII)
_ABSOLUTE_TARGET = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
_DEFAULT_HOSTS = ("localhost", "*.localhost")


def register(app: Flask, settings: Settings) -> None:
    """Check every request to the application before anything else, and add CORS headers."""
    guard = _Guard(settings)
    cors = get_cors_options(
        app,
        {
            # Only responses to allowed origins get here; the origin is echoed, never "*", which
            # does not go together with credentials (Fetch standard, section 3.3.5).
            "origins": re.compile(".*"),
            "supports_credentials": True,
            "methods": ["GET", "HEAD", "POST", "DELETE"],
            "expose_headers": ["ETag", "Location", "Retry-After", "Content-Range", "Accept-Ranges"],
            "max_age": 7200,
            "allow_private_network": True,
        },
    )

    @app.before_request
    def refuse() -> Response | None:
        return guard.refuse(request)

    @app.after_request
    def add_headers(response: Response) -> Response:
        if request.origin and guard.allows_origin(request):
            set_cors_headers(response, cors)
        response.vary.add("Origin")
        response.headers["X-Content-Type-Options"] = "nosniff"
        if request.method == "OPTIONS" and response.status_code == 200:
            response.status_code = 204
            response.headers.pop("Content-Type")  # Flask sets it without a body, too
        return response


class _Guard:
    def __init__(self, settings: Settings):
        self._hosts = settings.trusted_hosts
        self._origins = settings.cors_origins
        self._token = settings.token.encode() if settings.token else None

    def refuse(self, request: Request) -> Response | None:
        """Return the answer to a request that may not be made, or None."""
        is_health = request.path == HEALTH_PATH
        if not is_health and not self._trusts(_host_name(request)):
            return error_response(
                400, "This server does not answer to that host name; add it to TRUSTED_HOSTS."
            )
        if not self.allows_origin(request):
            return error_response(
                403, "Pages of that origin may not call this server; add it to CORS_ORIGINS."
            )
        is_preflight = request.method == "OPTIONS"  # which never carries credentials
        if self._token and not is_health and not is_preflight and not self._has_token(request):
            response = error_response(401, "Send the token: Authorization: Bearer <BACKUP_TOKEN>.")
            response.headers["WWW-Authenticate"] = _challenge(request)
            return response
        return None

    def allows_origin(self, request: Request) -> bool:
        """Tell whether the page that makes this request, if it is one, may make it."""
        origin = request.origin
        if origin is None:
            # Nothing here is an image, a script or a frame of another site's page; but a person
            # may follow a link to it.
            return request.headers.get("Sec-Fetch-Site") != "cross-site" or (
                request.headers.get("Sec-Fetch-Mode") == "navigate"
                and request.headers.get("Sec-Fetch-Dest") == "document"
                and request.method == "GET"
            )
        name = _name_in(origin)
        if name and name == _host_name(request):
            return True
        if self._origins is None:
            return name is not None and _is_loopback(name)
        return "*" in self._origins or origin.lower() in self._origins

    def _trusts(self, name: str | None) -> bool:
        if name is None:
            return False
        if self._hosts is None and _address(name):
            return True
        return any(
            name.endswith(trusted[1:]) if trusted.startswith("*.") else name == trusted
            for trusted in self._hosts or _DEFAULT_HOSTS
        )

    def _has_token(self, request: Request) -> bool:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            given = _basic_password(request)
        elif scheme.lower() != "bearer":
            return False
        # Not werkzeug's reading of a bearer's token, which takes one with "=" in it for parameters.
        return hmac.compare_digest(given.strip().encode(errors="replace"), self._token)


def _basic_password(request: Request) -> str:
    try:
        return request.authorization.password or ""
    except (AttributeError, ValueError):  # none, or bytes that are no base64 and no text
        return ""


def _challenge(request: Request) -> str:
    """Let a browser ask its user, but not for a program that has sent a token (RFC 6750, 3)."""
    if request.headers.get("Authorization", "").lower().startswith("bearer "):
        return 'Bearer realm="backup", error="invalid_token"'
    return 'Basic realm="backup", charset="UTF-8"'


def _host_name(request: Request) -> str | None:
    """Return the host name asked for, without port, brackets and a final dot.

    A target that names a host itself overrides the header (RFC 9112, section 3.2.2).
    """
    target = _ABSOLUTE_TARGET.match(request.environ.get("RAW_URI", ""))
    host = target[1] if target else request.environ.get("HTTP_HOST", "")
    match = _HOST.fullmatch(host.lower())
    return match[1].strip("[]").removesuffix(".") if match else None


def _name_in(origin: str) -> str | None:
    """Return the host name in an origin with one; ``null`` and nonsense have none."""
    try:
        parts = urlsplit(origin.lower())
        return (parts.hostname or "").removesuffix(".") or None
    except ValueError:
        return None


def _is_loopback(name: str) -> bool:
    address = _address(name)
    if address:
        return address.is_loopback
    return name == "localhost" or name.endswith(".localhost")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
