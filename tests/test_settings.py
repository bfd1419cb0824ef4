"""The environment: what each variable means, and the one line for a wrong value."""

from pathlib import Path

import pytest

from backup_server.settings import Settings, SettingsError


def read(**environ: str) -> Settings:
    return Settings.from_environ(environ)


def test_the_defaults_are_those_of_the_contract():
    settings = read()
    assert (settings.port, settings.host) == (3081, "127.0.0.1")
    assert settings.data_dir == Path("./data")
    assert settings.max_body_bytes == 52_428_800
    assert settings.cors_origins is None
    assert settings.trusted_hosts is None
    assert settings.token is None
    assert settings.workers is None


def test_other_variables_are_none_of_its_business():
    assert read(PATH="/bin", HOME="", LANG="C", FLASK_DEBUG="x") == Settings()


@pytest.mark.parametrize(
    ("variable", "value", "field", "meaning"),
    [
        ("PORT", "8080", "port", 8080),
        ("PORT", "1", "port", 1),
        ("PORT", "65535", "port", 65535),
        ("HOST", "0.0.0.0", "host", "0.0.0.0"),
        ("HOST", "::1", "host", "::1"),
        ("HOST", "[::]", "host", "::"),
        ("HOST", "localhost", "host", "localhost"),
        ("HOST", "backup.internal", "host", "backup.internal"),
        ("HOST", "Backup.Internal", "host", "Backup.Internal"),
        ("DATA_DIR", "/data/backups", "data_dir", Path("/data/backups")),
        ("DATA_DIR", "my backups", "data_dir", Path("my backups")),
        ("MAX_BODY_BYTES", "1", "max_body_bytes", 1),
        ("MAX_BODY_BYTES", str(2**50), "max_body_bytes", 2**50),
        ("WEB_CONCURRENCY", "1", "workers", 1),
        ("WEB_CONCURRENCY", "1024", "workers", 1024),
        ("BACKUP_TOKEN", "a:b=c/+~!", "token", "a:b=c/+~!"),
        ("CORS_ORIGINS", "*", "cors_origins", ("*",)),
        ("CORS_ORIGINS", "", "cors_origins", ()),
        ("CORS_ORIGINS", "https://a.example", "cors_origins", ("https://a.example",)),
        (
            "CORS_ORIGINS",
            " HTTPS://A.example:443 ,http://b.example:80,http://c.example:443,http://[::1]:3000",
            "cors_origins",
            ("https://a.example", "http://b.example", "http://c.example:443", "http://[::1]:3000"),
        ),
        ("CORS_ORIGINS", "tauri://localhost", "cors_origins", ("tauri://localhost",)),
        ("TRUSTED_HOSTS", "A.example", "trusted_hosts", ("a.example",)),
        (
            "TRUSTED_HOSTS",
            "a.example, *.b.example ,192.0.2.1,[2001:db8::1],2001:db8::2,my_host",
            "trusted_hosts",
            ("a.example", "*.b.example", "192.0.2.1", "2001:db8::1", "2001:db8::2", "my_host"),
        ),
    ],
)
def test_a_right_value_is_taken(variable, value, field, meaning):
    assert getattr(read(**{variable: value}), field) == meaning


BAD = {
    "PORT": ["", "x", "0", "-1", "65536", "80.0", "3081 ", "0x50", "٣٠٨١", "1" * 400],
    "HOST": ["", " ", "localhost:3081", "http://localhost", "a b", "256.0.0.1:80", "-", "a..b"],
    "DATA_DIR": ["", "  ", "a\0b"],
    "MAX_BODY_BYTES": ["", "0", "-1", "50MB", "1e6", "1.5", "52_428_800", "²", str(2**50 + 1)],
    "CORS_ORIGINS": [
        *("portfolio.example", "https://portfolio.example/", "https://portfolio.example/path"),
        *("https://", "https://*.portfolio.example", "https://user@portfolio.example", "null"),
        *("https://a.example:port", "https://a.example https://b.example", "https://a.example,"),
        *(",", "/.*/"),
    ],
    "TRUSTED_HOSTS": [
        *("", " ", "a.example,", "https://a.example", "a.example:443", "a.example/path", "a b"),
        *("*", "a.*.example", "*a.example", ".a.example"),
    ],
    "BACKUP_TOKEN": ["", " ", "with space", "tab\t", "newline\n", "é", "\x7f"],
    "WEB_CONCURRENCY": ["", "0", "-1", "two", "1.5", "1025"],
}


@pytest.mark.parametrize(
    ("variable", "value"), [(variable, value) for variable in BAD for value in BAD[variable]]
)
def test_a_wrong_value_is_one_line_that_says_what_is_allowed(variable, value):
    with pytest.raises(SettingsError) as raised:
        read(**{variable: value})
    line = str(raised.value)
    assert line.startswith(variable)
    assert "give" in line
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    if variable == "BACKUP_TOKEN":
        assert repr(value) not in line, "it is a secret"
        assert ("is not a token" if value else "is empty") in line
    elif variable in ("CORS_ORIGINS", "TRUSTED_HOSTS"):
        assert any(repr(item.strip()) in line for item in value.split(","))
    else:
        assert repr(value) in line


@pytest.mark.parametrize("variable", ["CORS_ORIGINS", "TRUSTED_HOSTS"])
def test_of_a_list_the_wrong_item_is_shown(variable):
    good = {"CORS_ORIGINS": "https://a.example", "TRUSTED_HOSTS": "a.example"}[variable]
    with pytest.raises(SettingsError, match="has 'a b' in it: give"):
        read(**{variable: f"{good},a b,{good}"})
