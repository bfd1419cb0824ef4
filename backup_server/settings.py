"""The environment, read once and checked before anything else starts.

A wrong value raises :class:`SettingsError`, whose text is one line: the variable, the value and
what is allowed. An empty value is wrong too, and does not mean the default: an operator who sets
``BACKUP_TOKEN=`` by mistake must not get a server without authentication.
"""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from click import ClickException
from gunicorn.errors import AppImportError

MIB = 1024 * 1024

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
    max_body_bytes: int = 50 * MIB
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
        read = {
            "HOST": ("host", _host),
            "PORT": ("port", _port),
            "DATA_DIR": ("data_dir", _directory),
            "MAX_BODY_BYTES": ("max_body_bytes", _bytes),
            "CORS_ORIGINS": ("cors_origins", _origins),
            "TRUSTED_HOSTS": ("trusted_hosts", _host_names),
            "BACKUP_TOKEN": ("token", _token),
            "WEB_CONCURRENCY": ("workers", _workers),
        }
        return cls(
            **{
                field: check(variable, environ[variable])
                for variable, (field, check) in read.items()
                if variable in environ
            }
        )


def _number(variable: str, value: str, low: int, high: int, allowed: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", value) or not low <= int(value) <= high:
        raise SettingsError(variable, f"is {value!r}", allowed)
    return int(value)


def _port(variable: str, value: str) -> int:
    return _number(variable, value, 1, 65535, "give a port from 1 to 65535")


def _bytes(variable: str, value: str) -> int:
    return _number(variable, value, 1, 2**50, "give a number of bytes, 1 or more")


def _workers(variable: str, value: str) -> int:
    return _number(variable, value, 1, 1024, "give a number of worker processes, 1 or more")


def _is_ip(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def _host(variable: str, value: str) -> str:
    address = value.removeprefix("[").removesuffix("]")
    if not _is_ip(address) and not re.fullmatch(_HOST_NAME, value, re.IGNORECASE):
        allowed = "give an IP address or a host name, without a port"
        raise SettingsError(variable, f"is {value!r}", allowed)
    return address


def _directory(variable: str, value: str) -> Path:
    if not value.strip() or "\0" in value:
        raise SettingsError(variable, f"is {value!r}", "give the path of a directory")
    return Path(value)


def _items(value: str) -> list[str]:
    return [item.strip() for item in value.split(",")]


def _origins(variable: str, value: str) -> tuple[str, ...]:
    if not value.strip():
        return ()
    return tuple(_origin(variable, item) for item in _items(value))


def _origin(variable: str, item: str) -> str:
    """One origin as a browser serialises it (RFC 6454, section 6.2): no default port, no path."""
    if item == "*":
        return item
    match = _ORIGIN.fullmatch(item)
    if not match:
        allowed = "give origins such as https://portfolio.example, separated by commas, or *"
        raise SettingsError(variable, f"has {item!r} in it", allowed)
    scheme, host, port = match[1].lower(), match[2].lower(), match[3]
    suffix = "" if port in (None, _DEFAULT_PORTS.get(scheme)) else f":{port}"
    return f"{scheme}://{host}{suffix}"


def _host_names(variable: str, value: str) -> tuple[str, ...]:
    return tuple(_host_name(variable, item) for item in _items(value))


def _host_name(variable: str, item: str) -> str:
    name = item.lower().removeprefix("[").removesuffix("]")
    if not _is_ip(name) and not re.fullmatch(rf"(?:\*\.)?{_HOST_NAME}", name):
        allowed = "give host names without a port, *.name for subdomains, separated by commas"
        raise SettingsError(variable, f"has {item!r} in it", allowed)
    return name


def _token(variable: str, value: str) -> str:
    # The value itself is a secret and stays out of the message.
    if not re.fullmatch(r"[\x21-\x7e]+", value):
        allowed = "give printable ASCII characters without spaces, or unset it to ask for no token"
        raise SettingsError(variable, "is not a token" if value else "is empty", allowed)
    return value
