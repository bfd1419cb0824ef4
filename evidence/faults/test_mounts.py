"""Real file systems that are full, read-only, or mounted over at any moment.

For each: the status, the old bytes intact, no stray, what is still served, and that the server
recovers without a restart when the fault has gone.
"""

import time

import pytest
from support import Server, assert_error, backups_in, strays_in

from .ledger import Ledger, inspect, load
from .mounts import ext4_of, mounted, run

KEY = "0123456789abcdef"


def atoms(size: int) -> bytes:
    return b'{"atoms":[{"slug":"new","pad":"%s"}]}' % (b"x" * size)


def check_served(server: Server, backup_id: str, kept: dict[str, bytes]) -> None:
    """Check that this backup can be read, and that the old files are untouched."""
    assert kept.items() <= backups_in(server.data_dir).items()
    assert backup_id in server.listed()
    assert server.get(f"/api/backup/{backup_id}").body == kept[f"backup-{backup_id}.json"]
    assert strays_in(server.data_dir) == []


def check_unhealthy(server: Server) -> None:
    time.sleep(1.1)  # it looks once a second
    health = server.get("/api/health")
    assert (health.status, health.json["status"]) == (503, "unavailable")


SMALL = {
    "tmpfs": lambda directory: mounted(directory / "disk", "-t", "tmpfs", "-o", "size=2m", "none"),
    "few inodes": lambda directory: ext4_of(directory, 9 << 20, "-N", "32"),
    "ext4": lambda directory: ext4_of(directory, 4 << 20, "-m", "0"),
}


@pytest.mark.parametrize("small", SMALL.values(), ids=SMALL)
def test_a_file_system_that_fills_up_is_a_507_and_deleting_mends_it(tmp_path, start_server, small):
    with small(tmp_path) as point:
        server = start_server(point / "data")
        stored = []
        for body in (atoms(50_000), b"{}"):
            while (answer := server.post("/api/backup", body)).status == 201:
                stored.append(answer.json["id"])
        assert len(stored) > 5
        kept = backups_in(server.data_dir)
        large = atoms(300_000)  # ext4 gives back the blocks of what failed, a moment later
        for query, body in (
            ("", atoms(3_000_000)),  # no room to receive it
            (f"?key={KEY}", large),
            (f"?base={stored[0]}", large.replace(b"[", b'{"put":[').replace(b"]", b"]}")),
        ):
            assert_error(server.post("/api/backup" + query, body), 507)
            check_served(server, stored[0], kept)
        assert server.listed() == stored[::-1]
        check_unhealthy(server)
        (server.data_dir / ".last-id").unlink()  # which deleting must not need
        for backup_id in stored[:-3]:
            assert server.request("DELETE", f"/api/backup/{backup_id}").status == 200
        assert server.upload({}, f"?key={KEY}")["id"] > stored[-1]
        time.sleep(1.1)
        assert server.get("/api/health").status == 200
        server.stop()


def test_a_read_only_disk_is_served_and_takes_nothing(tmp_path, start_server, sample):
    with mounted(tmp_path / "data", "-t", "tmpfs", "none") as point:
        server = start_server(point)
        backup_id = server.upload(sample)["id"]
        kept = backups_in(point)
        run("mount", "-o", "remount,ro", point)
        for _ in range(2):
            for body in (sample, atoms(1_500_000)):
                assert_error(server.post(f"/api/backup?key={KEY}", body), 503)
            assert_error(server.request("DELETE", f"/api/backup/{backup_id}"), 503)
            check_unhealthy(server)
            check_served(server, backup_id, kept)
            server.stop()
            server.start()  # also where it is read-only from the start
        run("mount", "-o", "remount,rw", point)
        assert server.upload(sample)
        server.stop()


def test_no_acknowledged_backup_lies_under_a_mount_that_comes_at_any_moment(start_server, amount):
    server = start_server(WEB_CONCURRENCY="2")
    ledger, deadline = Ledger({2_000: 80, 1_500_000: 20}), time.monotonic() + amount.seconds
    with load([server], ledger, refusals=(503,)):
        while time.monotonic() < deadline:
            time.sleep(0.11)
            with mounted(server.data_dir, "-t", "tmpfs", "none"):
                time.sleep(0.03)
            ledger.counts["mounts over the directory"] += 1
    server.stop()
    server.start()
    inspect([server], ledger)
    ledger.report()
