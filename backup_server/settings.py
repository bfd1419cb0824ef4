"""The environment, read once and checked before anything else starts.

A wrong value raises :class:`SettingsError`, whose text is one line: the variable, the value and
what is allowed. An empty value is wrong too, and does not mean the default: an operator who sets
``BACKUP_TOKEN=`` by mistake must not get a server without authentication.
"""

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from click import ClickException
from gunicorn.errors import AppImportError

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_HOST_NAME = rf"{_LABEL}(?:\.{_LABEL})*"
_ORIGIN = re.compile(
    rf"([a-z][a-z0-9+.-]*)://({_HOST_NAME}|\[[0-9a-f:.]+\])(?::(\d{{1,5}}))?", re.IGNORECASE
)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class SettingsError(AppImportError, ClickException):
    """A variable with a value that is not allowed.

    gunicorn prints an ``AppImportError`` as one line and stops, and so does the ``flask`` command
    with a ``ClickException``; any other exception of an application factory ends in a traceback.
    """

    def __init__(self, variable: str, found: str, allowed: str):
        super().__init__(f"{variable} {found}: {allowed}")


@dataclass(frozen=True)
class Settings:
    """What the server was told, in the units of the README's configuration table."""

    host: str = "127.0.0.1"
    port: int = 3081
    data_dir: Path = Path("data")
    max_body_bytes: int = 50 * 1024 * 1024
    #: Origins as browsers write them; ``("*",)`` is any, ``None`` is every loopback origin.
    cors_origins: tuple[str, ...] | None = None
    #: Lower-case host names, ``*.name`` for its subdomains; ``None`` is the documented default.
    trusted_hosts: tuple[str, ...] | None = None
    token: str | None = None
    #: Worker processes; ``None`` is one for each processor, but two at the most.
    workers: int | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Read every variable there is; raise SettingsError for the first wrong one."""
        fields = {}
        for variable, (field, read, allowed) in _VARIABLES.items():
            if variable in environ:
                value = environ[variable]
                try:
                    fields[field] = read(value)
                except ValueError as error:
                    raise SettingsError(variable, str(error) or f"is {value!r}", allowed) from None
        return cls(**fields)


def ip_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the IP address that a text is, or None if it is none."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _number(low: int, high: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", value) or not low <= int(value) <= high:
            raise ValueError
        return int(value)

    return read


def _host(value: str) -> str:
    address = value.removeprefix("[").removesuffix("]")
    if not ip_address(address) and not re.fullmatch(_HOST_NAME, value, re.IGNORECASE):
        raise ValueError
    return address


def _directory(value: str) -> Path:
    if not value.strip() or "\0" in value:
        raise ValueError
    return Path(value)


def _origins(value: str) -> tuple[str, ...]:
    return tuple(_origin(item.strip()) for item in value.split(",")) if value.strip() else ()


def _origin(item: str) -> str:
    """Return an origin as a browser serialises it (RFC 6454, section 6.2): no default port."""
    if item == "*":
        return item
    match = _ORIGIN.fullmatch(item)
    if not match:
        raise ValueError(f"has {item!r} in it")
    scheme, host, port = match[1].lower(), match[2].lower(), match[3]
    suffix = "" if port in (None, _DEFAULT_PORTS.get(scheme)) else f":{port}"
    return f"{scheme}://{host}{suffix}"


def _host_names(value: str) -> tuple[str, ...]:
    return tuple(_host_name(item.strip()) for item in value.split(","))


def _host_name(item: str) -> str:
    name = item.lower().removeprefix("[").removesuffix("]")
    if not ip_address(name) and not re.fullmatch(rf"(?:\*\.)?{_HOST_NAME}", name):
        raise ValueError(f"has {item!r} in it")
    return name


def _token(value: str) -> str:
    # The value itself is a secret and stays out of the message.
    if not re.fullmatch(r"[\x21-\x7e]+", value):
        raise ValueError("is not a token" if value else "is empty")
    return value


# By variable: the field, what reads the value or raises ValueError, and what is allowed.
_VARIABLES = {
    "HOST": ("host", _host, "give an IP address or a host name, without a port"),
    "PORT": ("port", _number(1, 65535), "give a port from 1 to 65535"),
    "DATA_DIR": ("data_dir", _directory, "give the path of a directory"),
    "MAX_BODY_BYTES": ("max_body_bytes", _number(1, 2**50), "give a number of bytes, 1 or more"),
    "CORS_ORIGINS": (
        "cors_origins",
        _origins,
        "give origins such as https://portfolio.example, separated by commas, or *",
    ),
    "TRUSTED_HOSTS": (
        "trusted_hosts",
        _host_names,
        "give host names without a port, *.name for subdomains, separated by commas",
    ),
    "BACKUP_TOKEN": (
        "token",
        _token,
        "give printable ASCII characters without spaces, or unset it to ask for no token",
    ),
    "WEB_CONCURRENCY": (
        "workers",
        _number(1, 1024),
        "give a number of worker processes, 1 or more",
    ),
}
