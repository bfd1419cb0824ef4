"""Who may call: the host names this server answers to, the pages that may call it, and the token.

A browser sends some requests, such as a ``text/plain`` POST, without asking first. So a request is
refused by what the browser says of it: ``Host`` (against a page that points its own name at this
server), ``Origin`` and ``Sec-Fetch-Site`` (against pages of other sites).
"""

import hmac
import re
from fnmatch import fnmatchcase
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address

from flask import Flask, Response, request
from flask_cors import CORS

from .errors import error_response
from .settings import Settings

_AUTHORITY = re.compile(
    r"(?:[a-z][a-z0-9+.-]*:)?//(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?", re.ASCII
)


def register(app: Flask, settings: Settings) -> None:
    """Check every request to the application before anything else, and add CORS headers."""
    app.before_request(partial(_refusal, settings))
    app.after_request(_finish_headers)
    # Any origin that gets here was allowed: flask-cors cannot compare one with the request's host.
    CORS(
        app,
        supports_credentials=True,
        expose_headers=["ETag", "Location", "Retry-After", "Content-Range", "Accept-Ranges"],
        max_age=7200,
        allow_private_network=True,
    )


def _finish_headers(response: Response) -> Response:
    response.headers["Vary"] = "Origin"
    response.headers["X-Content-Type-Options"] = "nosniff"
    if request.method == "OPTIONS" and response.status_code == 200:
        response.status_code = 204
        response.headers.pop("Content-Type")  # Flask sets it without a body, too
    return response


def _refusal(settings: Settings) -> Response | None:
    is_health = request.path == "/api/health"
    host = _host_name("//" + request.environ.get("HTTP_HOST", ""))
    is_allowed = _allows_origin(settings, host)
    if not is_allowed:
        request.environ.pop("HTTP_ORIGIN", None)  # or flask-cors would let the page read the answer
    if not is_health and not _trusts(settings, host):
        return error_response(400, "That host name is not trusted; add it to TRUSTED_HOSTS.")
    if not is_allowed:
        return error_response(403, "Pages of that origin may not call; add it to CORS_ORIGINS.")
    is_open = is_health or request.method == "OPTIONS"  # a preflight never carries credentials
    if settings.backup_token and not is_open and not _has_token(settings.backup_token):
        response = error_response(401, "Send the token: Authorization: Bearer <BACKUP_TOKEN>.")
        # A browser asks its user, but not for a program that has sent a token (RFC 6750, 3).
        has_sent = request.headers.get("Authorization", "").lower().startswith("bearer ")
        scheme = "Bearer" if has_sent else "Basic"
        response.headers["WWW-Authenticate"] = f'{scheme} realm="backup", charset="UTF-8"'
        return response
    return None


def _trusts(settings: Settings, host: str) -> bool:
    if settings.trusted_hosts is None:
        return _address(host) is not None
    return any(fnmatchcase(host, trusted) for trusted in settings.trusted_hosts)


def _allows_origin(settings: Settings, host: str) -> bool:
    """Tell whether the page that makes this request, if it is one, may make it."""
    origin = request.origin
    if origin is None:
        # Not another site's image, frame or form; but a person may follow its link.
        is_link = request.headers.get("Sec-Fetch-Dest") == "document" and request.method == "GET"
        return request.headers.get("Sec-Fetch-Site") != "cross-site" or is_link
    name = _host_name(origin)
    if name and name == host:
        return True
    if settings.cors_origins is None:
        address = _address(name)
        return address is not None and address.is_loopback
    return "*" in settings.cors_origins or origin.lower() in settings.cors_origins


def _has_token(token: str) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            given = request.authorization.password
        except (AttributeError, ValueError):  # no base64, or no text in it
            return False
    elif scheme.lower() != "bearer":
        return False
    # Not werkzeug's reading of a bearer's token, which takes one with "=" in it for parameters.
    return hmac.compare_digest(given.strip().encode(errors="replace"), token.encode())


def _host_name(text: str) -> str:
    """Return the name in an origin, or after ``//``, without port, brackets and a final dot."""
    match = _AUTHORITY.fullmatch(text.lower())
    return match[1].strip("[]").removesuffix(".") if match else ""


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        # Browsers look no name under localhost up (RFC 6761, section 6.3).
        return ip_address("::1" if name == "localhost" or name.endswith(".localhost") else name)
    except ValueError:
        return None
