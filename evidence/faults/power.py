"""Cut the power of the disk under a server at random writes, again and again; count what was lost.

``python -m faults.power --cuts 200 --file-system ext4`` in ``evidence/``, as root, is the long
form; the tests run a short one. Debian packages: nbdkit nbdkit-plugin-python libnbd-bin xfsprogs
btrfs-progs.

The disk is ``volatile_disk.py``, served by nbdkit, made a file by nbdfuse and a block device by the
kernel's loop driver. At a write chosen by chance it stops, with what a cut would leave on it; that
is mounted on another directory, a new server is started there, and all is compared with what the
clients know, as after a kill (``crash.py``). A server without its fsync fails this; a test shows
that it does.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from support import Server, wait_until

from .crash import CLIENTS, FAILURES, Client, Ledger, inspect, table, verify

TOOLS = ("nbdkit", "nbdfuse", "losetup", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs")
#: How to make each file system, and the bytes of the disk for it.
FILE_SYSTEMS = {
    "ext4": (["mkfs.ext4", "-q", "-b", "4096"], 512 << 20),
    "xfs": (["mkfs.xfs", "-q", "-s", "size=4096"], 1 << 30),
    "btrfs": (["mkfs.btrfs", "-q"], 1 << 30),
}
#: The power goes within so many writes, or seconds of a load that makes fewer.
MOST_WRITES = 600
MOST_SECONDS = 15
UNSYNCED = [
    sys.executable,
    "-c",
    "import os; os.fsync = lambda descriptor: None\n"
    "from backup_server.__main__ import main; main()",
]
_PLUGIN = Path(__file__).with_name("volatile_disk.py")


class Disk:
    """A disk image and the file system on it, which can be mounted and lose its power."""

    def __init__(self, directory: Path, file_system: str):
        self.directory = directory
        self.image, self.fuse = directory / "image", directory / "fuse"
        # What was mounted before the cut may linger, and xfs mounts no two disks of one name.
        self._options = ["-o", "nouuid"] if file_system == "xfs" else []
        make, size = FILE_SYSTEMS[file_system]
        self.image.touch()
        os.truncate(self.image, size)
        subprocess.run([*make, str(self.image)], check=True, capture_output=True)

    @contextmanager
    def mounted(self, point: Path) -> Iterator[Path]:
        """Mount the disk, with power; afterwards nothing of it is left in use."""
        with ExitStack() as stack:
            socket = self.directory / "socket"
            socket.unlink(missing_ok=True)
            disk = self.directory / "disk"
            disk.touch()
            self._serve(stack, socket, disk)
            run = ["losetup", "--find", "--show", "--sector-size", "4096", str(disk)]
            device = subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip()
            stack.callback(_call, "losetup", "--detach", device)
            point.mkdir()
            subprocess.run(["mount", *self._options, device, str(point)], check=True)
            stack.callback(_call, "umount", "--lazy", str(point))
            yield point

    def _serve(self, stack: ExitStack, socket: Path, disk: Path) -> None:
        plugin = [f"image={self.image}", f"fuse={self.fuse}"]
        serve = ["nbdkit", "-f", "-U", str(socket), "python", str(_PLUGIN), *plugin]
        stack.callback(_end, subprocess.Popen(serve, stderr=subprocess.DEVNULL))
        wait_until(socket.exists)
        attach = ["nbdfuse", str(disk), "--unix", str(socket)]
        stack.callback(_end, subprocess.Popen(attach, stderr=subprocess.DEVNULL))
        stack.callback(_call, "umount", "--lazy", str(disk))
        wait_until(lambda: disk.stat().st_size > 0)

    def light_fuse(self, writes: int) -> None:
        """Let the power go so many writes from now."""
        made = self.fuse.with_suffix(".new")
        made.write_text(str(writes))
        made.rename(self.fuse)

    def has_power(self) -> bool:
        return self.fuse.exists()


def torment(disk: Disk, cuts: int, command: list[str] | None = None, progress=None) -> Ledger:
    """Cut the power so many times under load; ``command`` starts the server under the cuts."""
    ledger = Ledger()
    for done in range(cuts):
        with disk.mounted(disk.directory / f"mount-{done}") as point:
            _check(point, ledger)
            _load_until_cut(disk, point, ledger, command, workers=1 + done % 2)
        ledger.counts["cuts"] += 1
        if progress:
            progress(ledger)
    with disk.mounted(disk.directory / f"mount-{cuts}") as point:
        _check(point, ledger)
        verify(point / "data", ledger)
    return ledger


def _check(point: Path, ledger: Ledger) -> None:
    # No machine is back within the second: the id of a deleted backup is not given again.
    time.sleep(1)
    server = Server(point / "data").start()
    try:
        inspect(server, ledger)
    finally:
        server.stop()


def _load_until_cut(disk, point, ledger, command, workers) -> None:
    server = Server(point / "data", command, WEB_CONCURRENCY=str(workers))
    server.log_path = disk.directory / "log"  # not on the disk that is to fail
    server.start()
    disk.light_fuse(random.randint(1, MOST_WRITES))
    try:
        clients = [Client(server, ledger, Outage(disk)) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        wait_for_cut(disk)
    finally:
        server.kill()
    for client in clients:
        client.join()


def wait_for_cut(disk: Disk) -> None:
    """Wait for the power to go; where a load makes few writes, it goes at the next one."""
    deadline = time.monotonic() + MOST_SECONDS
    while disk.has_power() and time.monotonic() < deadline:
        time.sleep(0.01)
    if disk.has_power():
        disk.light_fuse(1)
    wait_until(lambda: not disk.has_power(), 60)


class Outage:
    """Tells the clients of a disk, as an Event would, whether its power has gone.

    With it goes the machine, so what the server says afterwards nobody hears. (It may be wrong:
    ext4 can let an fsync succeed whose journal was aborted a moment before.)
    """

    def __init__(self, disk: Disk):
        self._disk = disk

    def is_set(self) -> bool:
        return not self._disk.has_power()


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    process.wait(20)


def _call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--file-system", choices=FILE_SYSTEMS, default="ext4")
    parser.add_argument("--without-fsync", action="store_true", help="what has to fail")
    options = parser.parse_args()

    def progress(ledger: Ledger) -> None:
        bad = sum(ledger.counts[name] for name in FAILURES)
        line = f"\r{ledger.counts['cuts']} cuts, {ledger.counts['acknowledged']} acknowledged"
        print(f"{line}, {bad} failures", end="", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        disk = Disk(Path(directory), options.file_system)
        command = UNSYNCED if options.without_fsync else None
        ledger = torment(disk, options.cuts, command, progress)
    print(file=sys.stderr)
    print(table(ledger))
    sys.exit(any(ledger.counts[name] for name in FAILURES))


if __name__ == "__main__":
    main()
