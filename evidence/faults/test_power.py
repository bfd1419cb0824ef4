"""The power of the disk under a server goes at random writes, and nothing acknowledged is lost.

The disk is ``volatile_disk.py``, served by nbdkit, made a file by nbdfuse and a block device by the
kernel's loop driver. What a cut has left on it is mounted on another directory, where a new server
is started. A server without its fsync fails this.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import Server, wait_until

from .ledger import Ledger, inspect, load
from .mounts import mounted, run

#: How to make each file system, how to mount it, and the bytes of the disk for it.
FILE_SYSTEMS = {
    "ext4": ("mkfs.ext4 -q -b 4096", "defaults", 512 << 20),
    # What was mounted before the cut may linger, and xfs mounts no two disks of one name.
    "xfs": ("mkfs.xfs -q -s size=4096", "nouuid", 1 << 30),
    "btrfs": ("mkfs.btrfs -q", "defaults", 1 << 30),
}
#: What starts with this ends with this process, however that ends.
ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL")
SYNCED = [*ENDS_WITH_US, sys.executable, "-m", "backup_server"]
UNSYNCED = [
    *(*ENDS_WITH_US, sys.executable, "-c"),
    "import os; os.fsync = os.fdatasync = lambda descriptor: None\n"
    "from backup_server.__main__ import main; main()",
]
PLUGIN = Path(__file__).with_name("volatile_disk.py")


@contextmanager
def powered(directory: Path, options: str) -> Iterator[Path]:
    """Mount the disk ``image``, with power, where nothing was mounted before."""
    here = Path(tempfile.mkdtemp(dir=directory))
    disk = here / "disk"
    disk.touch()
    plugin = ["nbdkit", "python", PLUGIN, f"image={directory}/image", f"fuse={directory}/fuse"]
    with subprocess.Popen([*ENDS_WITH_US, "nbdfuse", disk, "[", *plugin, "]"]) as process:
        try:
            wait_until(lambda: disk.stat().st_size > 0)
            device = run("losetup", "-f", "--show", "--sector-size", "4096", disk).strip()
            with mounted(here / "mounted", "-o", options, device) as point:
                run("losetup", "--detach", device)  # when it is unmounted
                yield point
        finally:
            run("umount", "--lazy", disk)
            process.terminate()


def cut_power(file_system: str, cuts: int, command: list[str] = SYNCED) -> Ledger:
    """Cut the power so many times under load; ``command`` starts the server under the cuts."""
    ledger, (make, options, size) = Ledger(), FILE_SYSTEMS[file_system]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        directory, fuse = Path(name), Path(name) / "fuse"
        # ext4 can let an fsync succeed whose journal was aborted: no answer counts after the cut.
        power_gone = SimpleNamespace(is_set=lambda: not fuse.exists(), set=lambda: None)
        (directory / "image").touch()
        os.truncate(directory / "image", size)
        run(*make.split(), directory / "image")
        for done in range(cuts + 1):
            with powered(directory, options) as point:
                # No machine is back within the second: no id of a deleted backup is given again.
                time.sleep(1)
                server = Server(point / "data", SYNCED).start()
                inspect([server], ledger)
                server.stop()
                if done == cuts:
                    return ledger
                server = Server(point / "data", command, WEB_CONCURRENCY=str(1 + done % 2))
                server.log_path = directory / "log"  # not on the disk that is to fail
                server.start()
                fuse.touch()
                with load([server], ledger, over=power_gone):
                    wait_until(power_gone.is_set, 120)
                    server.kill()
            ledger.counts["power cuts"] += 1


@pytest.mark.parametrize(
    "file_system",
    [pytest.param(name, marks=[pytest.mark.long] * (name != "ext4")) for name in FILE_SYSTEMS],
)
def test_no_power_cut_loses_halves_doubles_or_revives_a_backup(file_system, amount):
    cut_power(file_system, amount.cuts).report()


def test_a_server_that_does_not_sync_is_found_out():
    ledger = cut_power("ext4", cuts=1, command=UNSYNCED)
    assert ledger.counts["lost"] + ledger.counts["partial"] > 0
