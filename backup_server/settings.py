"""The environment, read once and checked before anything else starts.

An empty value is wrong, and does not mean the default: an operator who sets ``BACKUP_TOKEN=`` by
mistake must not get a server without authentication.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from click import ClickException
from gunicorn.errors import AppImportError


class SettingsError(AppImportError, ClickException):
    """A variable with a value that is not allowed; its text is one line.

    gunicorn prints an ``AppImportError`` without a traceback, and click a ``ClickException``.
    """

    exit_code = 2  # systemd's unit does not try again after it

    def __init__(self, variable: str, found: str, allowed: str):
        super().__init__(f"{variable} {found}: {allowed}")


@dataclass(frozen=True)
class Settings:
    """The configuration: fields have the names and units of the README's variables."""

    host: str = "127.0.0.1"
    port: int = 3081
    data_dir: Path = Path("data")
    max_body_bytes: int = 50 * 1024 * 1024
    #: Origins as browsers write them; ``("*",)`` is any, ``None`` is every loopback origin.
    cors_origins: tuple[str, ...] | None = None
    #: Lower-case host names, ``*.name`` for its subdomains; ``None`` is the documented default.
    trusted_hosts: tuple[str, ...] | None = None
    backup_token: str | None = None
    #: Worker processes; ``None`` is one for each processor, but two at the most.
    web_concurrency: int | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read every variable there is; raise SettingsError for the first wrong one."""
        fields = {}
        for variable, (pattern, read, allowed) in _VARIABLES.items():
            value = environ.get(variable)
            if value is None:
                continue
            if not re.fullmatch(pattern, value, re.ASCII | re.IGNORECASE):
                is_secret = variable == "BACKUP_TOKEN" and value
                found = "is not a token" if is_secret else f"is {value!r}"
                raise SettingsError(variable, found, f"give {allowed}")
            fields[variable.lower()] = read(value)
        return cls(**fields)


def _hosts(value: str) -> tuple[str, ...]:
    return tuple(item.strip().lower().strip("[]") for item in value.split(","))


def _origins(value: str) -> tuple[str, ...]:
    """Return origins as a browser serialises them (RFC 6454, section 6.2): no default port."""
    items = (item.strip().lower() for item in value.split(",") if item.strip())
    return tuple(re.sub(r"^(http:.*):80$|^(https:.*):443$", r"\1\2", item) for item in items)


_NAME = r"[a-z0-9_][a-z0-9_.-]*"
_IPV6 = r"[0-9a-f]*:[0-9a-f]*:[0-9a-f:.]*"
_HOST = rf"{_NAME}|{_IPV6}|\[{_IPV6}\]"
_ORIGIN = rf"\*|[a-z][a-z0-9+.-]*://(?:{_NAME}|\[{_IPV6}\])(?::\d{{1,5}})?"
_PORT = r"[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5]"
_LIST = r"\s*(?:{0})\s*(?:,\s*(?:{0})\s*)*"
_HOSTS = _LIST.format(rf"{_HOST}|\*\.{_NAME}")
_ORIGINS = r"\s*|" + _LIST.format(_ORIGIN)

# By variable: the pattern of a value, what reads it, and what is allowed.
_VARIABLES = {
    "HOST": (_HOST, lambda host: host.strip("[]"), "an IP address or a host name, without a port"),
    "PORT": (_PORT, int, "a port from 1 to 65535"),
    "DATA_DIR": (r"(?s:.*\S.*)", Path, "the path of a directory"),
    "MAX_BODY_BYTES": (r"[1-9]\d{0,14}", int, "a number of bytes, 1 or more"),
    "CORS_ORIGINS": (_ORIGINS, _origins, "origins such as https://a.example, with commas, or *"),
    "TRUSTED_HOSTS": (_HOSTS, _hosts, "names without a port, or *.name, separated by commas"),
    "BACKUP_TOKEN": (r"[!-~]+", str, "ASCII without spaces, or unset it to ask for no token"),
    "WEB_CONCURRENCY": (r"[1-9]\d{0,2}", int, "a number of worker processes, from 1 to 999"),
}
