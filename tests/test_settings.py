"""The environment: what each variable means, and the one line for a wrong value."""

from pathlib import Path

import pytest

from backup_server.settings import Settings, SettingsError


@pytest.mark.parametrize(
    ("variable", "value", "meaning"),
    [
        *(("PORT", str(port), port) for port in (1, 8080, 59999, 60000, 65535)),
        *(("HOST", host, host) for host in ("0.0.0.0", "::1", "Backup.Internal")),
        ("HOST", "[::]", "::"),
        ("DATA_DIR", "/my backups", Path("/my backups")),
        ("MAX_BODY_BYTES", "1", 1),
        ("WEB_CONCURRENCY", "999", 999),
        ("BACKUP_TOKEN", "a:b=c/+~!", "a:b=c/+~!"),
        ("CORS_ORIGINS", "*", ("*",)),
        ("CORS_ORIGINS", "", ()),
        (
            "CORS_ORIGINS",
            " HTTPS://A.example:443 ,http://b.example:80,http://c.example:443,tauri://localhost",
            ("https://a.example", "http://b.example", "http://c.example:443", "tauri://localhost"),
        ),
        (
            "TRUSTED_HOSTS",
            "A.example, *.b.example ,192.0.2.1,[2001:db8::1],2001:db8::2,my_host",
            ("a.example", "*.b.example", "192.0.2.1", "2001:db8::1", "2001:db8::2", "my_host"),
        ),
    ],
)
def test_a_right_value_is_read(variable, value, meaning):
    assert getattr(Settings.from_environ({variable: value}), variable.lower()) == meaning


BAD = {
    "PORT": ["", "x", "0", "-1", "65536", "99999", "80.0", "3081 ", "٣٠٨١", "1" * 400],
    "HOST": ["", " ", "localhost:3081", "http://localhost", "a b", "-"],
    "DATA_DIR": ["", "  "],
    "MAX_BODY_BYTES": ["", "0", "-1", "50MB", "1.5", "52_428_800", "²", str(10**15)],
    "CORS_ORIGINS": [
        *("portfolio.example", "https://a.example/", "https://", "https://*.a.example", "null"),
        *("https://user@a.example", "https://a.example:port", "https://a.example https://b"),
        *("https://a.example,", ","),
    ],
    "TRUSTED_HOSTS": [
        *("", "a.example,", "https://a.example", "a.example:443", "a.example/path", "a b"),
        *("*", "a.*.example", "*a.example", ".a.example"),
    ],
    "BACKUP_TOKEN": ["", " ", "with space", "newline\n", "é", "\x7f"],
    "WEB_CONCURRENCY": ["", "0", "-1", "two", "1000"],
}


@pytest.mark.parametrize(
    ("variable", "value"), [(variable, value) for variable in BAD for value in BAD[variable]]
)
def test_a_wrong_value_is_one_line_that_says_what_is_allowed(variable, value):
    with pytest.raises(SettingsError) as raised:
        Settings.from_environ({variable: value})
    is_secret = variable == "BACKUP_TOKEN" and value
    found = "is not a token" if is_secret else f"is {value!r}"
    assert str(raised.value).startswith(f"{variable} {found}: give ")
    assert str(raised.value).isprintable()
