"""Malformed HTTP through nginx to the server: it is one request or none."""

import pytest
import raw
from nginx import running_nginx
from support import backups_in
from test_server import BROKEN_OFF, CHUNKED, LENGTH, ODD, REFUSALS, get, post

# What nginx puts in order, or sees otherwise, before it is the server's to read.
MENDED = {
    "an asterisk": [400],
    "a length beyond any integer": [400],
    "a coding besides chunks": [415, 501],
}


@pytest.fixture(scope="module")
def port(shared_server, tmp_path_factory):
    directory = tmp_path_factory.mktemp("nginx")
    with running_nginx(directory, directory, f"127.0.0.1:{shared_server.port}") as nginx:
        yield nginx.port


@pytest.mark.parametrize(
    ("name", "status", "sent"),
    [(name, status, sent) for status, cases in ODD.items() for name, sent in cases.items()],
    ids=[name for cases in ODD.values() for name in cases],
)
def test_odd_http_is_one_request_or_none(server, port, name, status, sent):
    before = backups_in(server.data_dir)
    (answer,) = raw.talk(port, sent)
    assert answer.status in MENDED.get(name, [status])
    assert len(backups_in(server.data_dir)) == len(before) + (answer.status == 201)
    assert server.get("/api/health").status == 200


@pytest.mark.parametrize("sent", BROKEN_OFF.values(), ids=BROKEN_OFF)
def test_what_breaks_off_is_not_stored(server, port, sent):
    before = backups_in(server.data_dir)
    raw.talk(port, sent, half_close=True)
    assert backups_in(server.data_dir) == before


@pytest.mark.parametrize(("headers", "status"), REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("framing", [LENGTH, CHUNKED], ids=["length", "chunks"])
def test_a_large_refused_body_is_read_and_a_request_inside_it_is_not_carried_out(
    server, port, headers, status, framing
):
    backup_id = server.upload({})["id"]
    body = get(line=b"DELETE /api/backup/%s HTTP/1.1\r\n" % backup_id.encode()) * 200_000
    if framing == LENGTH:
        sent = post(headers + LENGTH + b"%d\r\n" % len(body), body)
    else:
        sent = post(headers + CHUNKED, raw.chunked([body]))
    assert [answer.status for answer in raw.talk(port, sent)] == [status]
    assert backup_id in server.listed()
