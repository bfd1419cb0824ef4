"""No kill loses, halves, doubles or revives a backup; a short form of ``crash.py``."""

import threading

from .crash import FAILURES, Client, Ledger, inspect, new_upload, table, torment


def test_nothing_acknowledged_is_lost_and_nothing_partial_is_seen_however_often_it_is_killed(
    tmp_path,
):
    ledger = torment(tmp_path / "data", kills=12, longest=0.5)
    print(table(ledger))
    assert {name: ledger.counts[name] for name in FAILURES} == dict.fromkeys(FAILURES, 0), (
        ledger.complaints
    )
    assert ledger.counts["acknowledged"] > 20
    assert ledger.counts["changes"] > 0
    assert ledger.counts["deleted"] > 2
    assert ledger.counts["retried"] > 0


def test_the_inspection_sees_what_is_lost_partial_doubled_risen_or_a_stray(start_server):
    server, ledger = start_server(), Ledger()
    client = Client(server, ledger, threading.Event())
    for _ in range(4):
        client.send(new_upload()._replace(size=1000))
    client.connection.close()
    lost, partial, doubled, risen = ledger.stored
    files = {name: server.data_dir / f"backup-{name}.json" for name in ledger.stored}
    files[lost].unlink()
    files[partial].write_bytes(files[partial].read_bytes().replace(b'"later"', b'"LATER"'))
    copy = server.data_dir / "backup-2031-01-01T00-00-00.json"
    copy.write_bytes(files[doubled].read_bytes())
    ledger.was_deleted(risen)
    stray = server.data_dir / ".upload-0123456789abcdef.tmp"
    stray.touch()
    inspect(server, ledger)
    stray.unlink()
    found = {name: ledger.counts[name] for name in FAILURES}
    assert found == {**dict.fromkeys(FAILURES, 1), "errors": 0}
