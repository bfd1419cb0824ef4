"""No id leads out of the directory, on any route or verb, however it is written."""

import shutil

import pytest
from nginx import running_nginx
from raw import talk
from support import assert_error, require_tool

SECRET = b'{"id":"secret","timestamp":"x","data":{"atoms":["the secret"]}}'
# Each names a file that exists, or an address that answers, if it is followed.
TRICKS = [
    "../secret",
    "x/../../secret",
    "..\\secret",
    "....//secret",
    "/etc/passwd",
    "../data/backup-{id}",
    "./{id}",
    "{id}/",
    "{id}/.",
    "{id}.json",
    "backup-{id}.json",
    "{id}\0",
    "{id}\0.json",
    "{id}\n",
    " {id}",
    "{id} ",
    "{id}%00",
    "{id}\u2024json",
    "\uff12026-01-01T00-00-00",
    "{id}?x",
    "{id}#x",
    "{id};x",
    ".last-id",
    ".keys/0123456789abcdef",
    "..",
    ".",
    "",
    "*",
    "~",
    "{id}:$DATA",
    "file:///etc/passwd",
    "A" * 140,
]


def encode(text: str, times: int) -> str:
    """Write every byte as %XX, so many times over."""
    for _ in range(times):
        text = "".join(f"%{byte:02X}" for byte in text.encode())
    return text


@pytest.fixture(scope="module")
def stored(shared_server):
    """The id of a backup, with a secret next to its directory."""
    (shared_server.data_dir.parent / "secret.json").write_bytes(SECRET)
    (shared_server.data_dir.parent / "backup-secret.json").write_bytes(SECRET)
    return shared_server.upload({"atoms": ["kept"]}, "?key=0123456789abcdef")["id"]


@pytest.fixture(scope="module")
def nginx_port(shared_server, tmp_path_factory):
    require_tool("nginx")
    directory = tmp_path_factory.mktemp("nginx")
    (directory / "site").mkdir()
    with running_nginx(directory, directory / "site", f"127.0.0.1:{shared_server.port}") as nginx:
        yield nginx.port


def ask_for(port: int, method: str, path: str) -> list:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    return talk(port, head.encode("latin-1"))


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("times", [1, 2])
def test_no_path_leads_to_anything_but_a_backup(server, stored, nginx_port, trick, times):
    text = trick.format(id=stored)
    for port in (server.port, nginx_port):
        for method in ("GET", "DELETE", "PUT", "POST", "PATCH"):
            (answer,) = ask_for(port, method, f"/api/backup/{encode(text, times)}")
            assert answer.status in (400, 404, 405), answer
            assert list(answer.json) == ["error"]
    assert stored in server.listed()


@pytest.mark.parametrize(
    "trick", [trick for trick in TRICKS if trick.isascii() and "{id}" not in trick]
)
def test_no_path_that_is_not_encoded_leads_to_anything_either(server, stored, nginx_port, trick):
    for port in (server.port, nginx_port):
        for method in ("GET", "DELETE"):
            (answer,) = ask_for(port, method, f"/api/backup/{trick}")
            assert answer.status in (400, 404), answer
            assert list(answer.json) == ["error"]
    assert stored in server.listed()


@pytest.mark.parametrize("times", [0, 1, 2])
@pytest.mark.parametrize("trick", TRICKS)
def test_no_id_in_a_restore_or_a_listing_leads_out_either(server, stored, trick, times):
    text = encode(trick.format(id=stored), times)
    for asked in ({"backupId": text}, {"backupId": text, "items": ["atoms"]}):
        answer = server.post("/api/restore", asked)
        assert_error(answer, 404)
    answer = server.get(f"/api/backup/list?before={encode(text, 1)}")
    assert_error(answer, 400, "before")
    answer = server.post(f"/api/backup?key={encode(text, 1)}", {})
    assert_error(answer, 400, "key")
    assert stored in server.listed()


def test_a_key_cannot_name_another_file(server, stored):
    """A key's link can be made to point anywhere by hand; only a backup's file name counts."""
    keys = server.data_dir / ".keys"
    for number, target in enumerate(["../../secret.json", "/etc/passwd", "../.last-id", ".."]):
        key = f"pointing-elsewhere-{number}"
        (keys / key).symlink_to(target)
        receipt = server.upload({"atoms": [number]}, f"?key={key}")
        assert server.post(f"/api/backup?key={key}", {}).json["id"] == receipt["id"]
    shutil.rmtree(keys)
    assert stored in server.listed()
