"""Who may call: the host names this server answers to, the pages that may call it, and the token.

A browser sends requests for any page, and some, such as a ``text/plain`` POST, without asking
first. So a request is refused by what the browser says of it: ``Host`` (against a page that points
its own name at this server), ``Origin`` and ``Sec-Fetch-Site`` (against pages of other sites).
"""

import hmac
import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from flask import Flask, Request, Response, request
from flask_cors import CORS

from .errors import error_response
from .settings import Settings

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?", re.ASCII)
_DEFAULT_HOSTS = ("localhost", "*.localhost")


def register(app: Flask, settings: Settings) -> None:
    """Check every request to the application before anything else, and add CORS headers."""

    @app.before_request
    def refuse() -> Response | None:
        return _refusal(request, settings)

    @app.after_request
    def finish_headers(response: Response) -> Response:
        response.headers["Vary"] = "Origin"
        response.headers["X-Content-Type-Options"] = "nosniff"
        if request.method == "OPTIONS" and response.status_code == 200:
            response.status_code = 204
            response.headers.pop("Content-Type")  # Flask sets it without a body, too
        return response

    # Any origin that gets here was allowed: flask-cors cannot compare one with the request's host.
    # It echoes the origin, since "*" does not go together with credentials (Fetch standard, 3.3.5).
    CORS(
        app,
        origins=re.compile(".*"),
        supports_credentials=True,
        methods=["GET", "HEAD", "POST", "DELETE"],
        expose_headers=["ETag", "Location", "Retry-After", "Content-Range", "Accept-Ranges"],
        max_age=7200,
        allow_private_network=True,
        always_send=False,
        vary_header=False,
    )


def _refusal(request: Request, settings: Settings) -> Response | None:
    """Return the answer to a request that may not be made, or None."""
    is_health = request.path == "/api/health"
    is_allowed = _allows_origin(request, settings)
    if not is_allowed:
        request.environ.pop("HTTP_ORIGIN", None)  # or flask-cors would let the page read the answer
    if not is_health and not _trusts(_host_name(request), settings.trusted_hosts):
        return error_response(
            400, "This server does not answer to that host name; add it to TRUSTED_HOSTS."
        )
    if not is_allowed:
        return error_response(
            403, "Pages of that origin may not call this server; add it to CORS_ORIGINS."
        )
    is_open = is_health or request.method == "OPTIONS"  # a preflight never carries credentials
    if settings.backup_token and not is_open and not _has_token(request, settings.backup_token):
        response = error_response(401, "Send the token: Authorization: Bearer <BACKUP_TOKEN>.")
        response.headers["WWW-Authenticate"] = _challenge(request)
        return response
    return None


def _trusts(name: str | None, trusted_hosts: tuple[str, ...] | None) -> bool:
    if name is None:
        return False
    if trusted_hosts is None and _address(name):
        return True
    return any(
        name.endswith(trusted[1:]) if trusted.startswith("*.") else name == trusted
        for trusted in trusted_hosts or _DEFAULT_HOSTS
    )


def _allows_origin(request: Request, settings: Settings) -> bool:
    """Tell whether the page that makes this request, if it is one, may make it."""
    origin = request.origin
    if origin is None:
        # Not another site's image, frame or form; but a person may follow its link.
        is_link = request.headers.get("Sec-Fetch-Dest") == "document" and request.method == "GET"
        return request.headers.get("Sec-Fetch-Site") != "cross-site" or is_link
    name = _name_in(origin)
    if name and name == _host_name(request):
        return True
    if settings.cors_origins is None:
        return name is not None and _is_loopback(name)
    return "*" in settings.cors_origins or origin.lower() in settings.cors_origins


def _has_token(request: Request, token: str) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            given = request.authorization.password or ""
        except (AttributeError, ValueError):  # no base64, or no text in it
            return False
    elif scheme.lower() != "bearer":
        return False
    # Not werkzeug's reading of a bearer's token, which takes one with "=" in it for parameters.
    return hmac.compare_digest(given.strip().encode(errors="replace"), token.encode())


def _challenge(request: Request) -> str:
    """Let a browser ask its user, but not for a program that has sent a token (RFC 6750, 3)."""
    if request.headers.get("Authorization", "").lower().startswith("bearer "):
        return 'Bearer realm="backup", error="invalid_token"'
    return 'Basic realm="backup", charset="UTF-8"'


def _host_name(request: Request) -> str | None:
    """Return the name in the Host header, without port, brackets and a final dot."""
    match = _HOST.fullmatch(request.environ.get("HTTP_HOST", "").lower())
    return match[1].strip("[]").removesuffix(".") if match else None


def _name_in(origin: str) -> str | None:
    """Return the host name in an origin with one; ``null`` and nonsense have none."""
    try:
        return (urlsplit(origin.lower()).hostname or "").removesuffix(".") or None
    except ValueError:
        return None


def _is_loopback(name: str) -> bool:
    if address := _address(name):
        return address.is_loopback
    return name == "localhost" or name.endswith(".localhost")


def _address(name: str) -> IPv4Address | IPv6Address | None:
    """Return the IP address that a name is, or None if it is none."""
    try:
        return ip_address(name)
    except ValueError:
        return None
