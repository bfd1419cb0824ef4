"""DELETE /api/backup/<id>."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import raw
from support import assert_error, backups_in, strays_in

from backup_server.ids import file_name


def test_a_deleted_backup_is_gone_from_the_disk_and_every_answer(server, sample):
    keep, backup_id = (server.upload(sample)["id"] for _ in range(2))
    answer = server.request("DELETE", f"/api/backup/{backup_id}")
    assert (answer.status, answer.json) == (200, {"deleted": True})
    assert answer.headers["Content-Type"] == "application/json"
    assert not (server.data_dir / file_name(backup_id)).exists()
    assert_error(server.get(f"/api/backup/{backup_id}"), 404)
    assert_error(server.post("/api/restore", {"backupId": backup_id}), 404)
    assert server.get("/api/backup/latest").json["id"] == keep
    assert backup_id not in server.listed()
    assert_error(server.request("DELETE", f"/api/backup/{backup_id}"), 404)


def test_a_request_that_has_a_body_deletes_too_and_leaves_the_connection_usable(server):
    backup_id = server.upload({})["id"]
    with raw.connect(server) as connection:
        for status in (200, 404):
            head = raw.head(f"DELETE /api/backup/{backup_id}", "Content-Length: 4")
            connection.sendall(head + b"{}{}")
            assert raw.receive(connection).status == status


def test_a_reader_that_has_the_document_open_gets_all_of_it(server):
    receipt = server.upload({"atoms": ["x" * 30_000_000]})
    path = f"/api/backup/{receipt['id']}"
    text = (server.data_dir / file_name(receipt["id"])).read_bytes()
    restore = b'{"backupId":"%s","items":["atoms"]}' % receipt["id"].encode()
    requests = [
        raw.head(f"GET {path}"),
        raw.head(f"GET {path}", "Range: bytes=1000-"),
        raw.head("POST /api/restore", f"Content-Length: {len(restore)}") + restore,
    ]
    readers = [raw.connect(server) for _ in requests]
    for reader, request in zip(readers, requests, strict=True):
        reader.sendall(request)
        reader.recv(1, 2)  # MSG_PEEK: the answer has begun
    assert server.request("DELETE", path).status == 200
    whole, part, atoms = (raw.receive(reader) for reader in readers)
    for reader in readers:
        reader.close()
    assert whole.body == text
    assert (part.status, part.body) == (206, text[1000:])
    assert atoms.json["data"]["atoms"] == ["x" * 30_000_000]


def test_of_many_who_delete_one_backup_one_is_told_so(start_server):
    servers = [start_server(WEB_CONCURRENCY="2"), start_server()]
    for _ in range(10):
        backup_id = servers[0].upload({}, "?key=deleted-by-many-0")["id"]
        with ThreadPoolExecutor(6) as pool:
            answers = list(
                pool.map(
                    lambda n, path=f"/api/backup/{backup_id}": servers[n % 2].request(
                        "DELETE", path
                    ),
                    range(6),
                )
            )
        assert sorted(answer.status for answer in answers) == [200] + [404] * 5
        assert backups_in(servers[0].data_dir) == {}


@pytest.mark.parametrize("path", ["/api/backup", "/api/backup/", "/api", "/"])
def test_nothing_but_one_backup_can_be_deleted(server, path):
    backup_id = server.upload({})["id"]
    assert_error(server.request("DELETE", path), 405 if path == "/api/backup" else 404)
    assert backup_id in server.listed()
    assert strays_in(server.data_dir) == []
