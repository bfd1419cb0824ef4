"""The power of the disk under a server goes at random writes, and nothing acknowledged is lost.

The disk is ``volatile_disk.py``, served by nbdkit, made a file by nbdfuse and a block device by the
kernel's loop driver. At a write chosen by chance it stops, with what a cut would leave on it; that
is mounted on another directory, a new server is started there, and all is compared with what the
clients know, as after a kill. A server without its fsync fails this.
"""

import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import Server, wait_until

from .ledger import Ledger, inspect
from .mounts import ENDS_WITH_US, background, mounted, run
from .test_kills import load

#: How to make each file system, how to mount it, and the bytes of the disk for it.
FILE_SYSTEMS = {
    "ext4": ("mkfs.ext4 -q -b 4096", "defaults", 512 << 20),
    # What was mounted before the cut may linger, and xfs mounts no two disks of one name.
    "xfs": ("mkfs.xfs -q -s size=4096", "nouuid", 1 << 30),
    "btrfs": ("mkfs.btrfs -q", "defaults", 1 << 30),
}
#: The power goes within so many writes.
MOST_WRITES = 600
SYNCED = [*ENDS_WITH_US, sys.executable, "-m", "backup_server"]
UNSYNCED = [
    *(*ENDS_WITH_US, sys.executable, "-c"),
    "import os; os.fsync = os.fdatasync = lambda descriptor: None\n"
    "from backup_server.__main__ import main; main()",
]
PLUGIN = Path(__file__).with_name("volatile_disk.py")


class Disk:
    """A disk image and the file system on it, which can be mounted and lose its power."""

    def __init__(self, directory: Path, file_system: str):
        make, self._options, size = FILE_SYSTEMS[file_system]
        self.directory = directory
        self.image, self.fuse = directory / "image", directory / "fuse"
        self.image.touch()
        os.truncate(self.image, size)
        run(*make.split(), self.image)

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        """Mount the disk, with power, where nothing was mounted before."""
        here = Path(tempfile.mkdtemp(dir=self.directory))
        disk = here / "disk"
        disk.touch()
        plugin = ["nbdkit", "python", PLUGIN, f"image={self.image}", f"fuse={self.fuse}"]
        with background("nbdfuse", disk, "[", *plugin, "]"):
            wait_until(lambda: disk.stat().st_size > 0)
            device = run("losetup", "-f", "--show", "--sector-size", "4096", disk).strip()
            try:
                with mounted(here / "mounted", "-o", self._options, device) as point:
                    run("losetup", "--detach", device)  # when it is unmounted
                    yield point
            finally:
                run("umount", "--lazy", disk)

    def light_fuse(self, writes: int) -> None:
        """Let the power go so many writes from now."""
        made = self.fuse.with_suffix(".new")
        made.write_text(str(writes))
        made.rename(self.fuse)

    def is_set(self) -> bool:
        """Tell the clients, as an Event would, whether the power has gone.

        With it goes the machine, so nobody hears what the server says afterwards. (It may be wrong:
        ext4 can let an fsync succeed whose journal was aborted a moment before.)
        """
        return not self.fuse.exists()


@pytest.fixture
def make_disk() -> Iterator:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield lambda file_system: Disk(Path(directory), file_system)


def cut_power(disk: Disk, cuts: int, command: list[str] = SYNCED, seconds=15) -> Ledger:
    """Cut the power so many times under load; ``command`` starts the server under the cuts.

    Where a load makes few writes, the power goes at the first one after so many seconds.
    """
    ledger = Ledger()
    for done in range(cuts):
        with disk.mounted() as point:
            check(point / "data", ledger)
            server = Server(point / "data", command, WEB_CONCURRENCY=str(1 + done % 2))
            server.log_path = disk.directory / "log"  # not on the disk that is to fail
            server.start()
            disk.light_fuse(random.randint(1, MOST_WRITES))
            with load([server], ledger, disk):
                wait_for_cut(disk, seconds)
                server.kill()
        ledger.counts["power cuts"] += 1
    with disk.mounted() as point:
        check(point / "data", ledger)
    return ledger


def check(data_dir: Path, ledger: Ledger) -> None:
    # No machine is back within the second: the id of a deleted backup is not given again.
    time.sleep(1)
    server = Server(data_dir, SYNCED).start()
    try:
        inspect([server], ledger)
    finally:
        server.stop()


def wait_for_cut(disk: Disk, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not disk.is_set() and time.monotonic() < deadline:
        time.sleep(0.01)
    if not disk.is_set():
        disk.light_fuse(1)
    wait_until(disk.is_set, 60)
    wait_until(lambda: not disk.fuse.with_suffix(".burning").exists(), 60)


@pytest.mark.parametrize(
    "file_system",
    [pytest.param(name, marks=[pytest.mark.long] * (name != "ext4")) for name in FILE_SYSTEMS],
)
def test_no_power_cut_loses_halves_doubles_or_revives_a_backup(
    make_disk, file_system, amount, figures
):
    ledger = cut_power(make_disk(file_system), amount.cuts)
    figures(f"{file_system}\n{ledger.table('power cuts')}")
    assert ledger.failures() == {}, ledger.complaints
    assert ledger.counts["acknowledged"] > 5


def test_a_server_that_does_not_sync_is_found_out(make_disk):
    ledger = cut_power(make_disk("ext4"), cuts=1, command=UNSYNCED, seconds=3)
    assert ledger.counts["lost"] + ledger.counts["partial"] > 0
