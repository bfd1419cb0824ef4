"""A replicated GlusterFS volume of three bricks, mounted twice, as two machines would mount it.

It lives in a network namespace of its own, with an address reserved for documentation (RFC 5737),
since GlusterFS refuses loopback. Debian packages: glusterfs-server iproute2; root only.
"""

import os
import signal
from contextlib import ExitStack, suppress
from pathlib import Path

from support import wait_until

from .mounts import run

ADDRESS = "192.0.2.1"
NAMESPACE = f"backup-cluster-{os.getpid()}"
#: Each mount has to see at once what another one wrote, so the kernel may keep no names, attributes
#: or contents of its own (mount.glusterfs(8)), and neither may the volume's client. Without
#: direct-io-mode a mount went on reading the .last-id that it had read before.
MOUNT_OPTIONS = "direct-io-mode=enable,attribute-timeout=0,entry-timeout=0,negative-timeout=0"
VOLUME_OPTIONS = {
    "performance.stat-prefetch": "off",
    "performance.readdir-ahead": "off",
    "performance.quick-read": "off",
    "performance.io-cache": "off",
    # Or what was written under the lock could reach the others after it was released.
    "performance.write-behind": "off",
    "network.ping-timeout": "5",
}
VOLFILE = """volume management
    type mgmt/glusterd
    option working-directory {}
    option transport-type socket
end-volume
"""


class Cluster:
    """Three bricks and the mounts ``one`` and ``two``; ends with the ``with`` block."""

    def __init__(self, directory: Path):
        self._directory = directory
        self.mounts = [directory / "one", directory / "two"]
        self._stack = ExitStack()

    def __enter__(self) -> "Cluster":
        with ExitStack() as stack:
            self._directory.mkdir()
            self._make_network(stack)
            self._start_daemon(stack)
            self._make_volume(stack)
            for point in self.mounts:
                self._mount(stack, point)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def kill_brick(self, number: int) -> None:
        self._kill(f"brick-{number}")

    def heal(self) -> None:
        """Start the bricks that were killed, and wait until each has what it missed."""
        self._gluster("start", "backups", "force")
        wait_until(lambda: "Number of entries: -" not in self._unhealed(), 60, pause=0.5)
        wait_until(lambda: self._unhealed().count("Number of entries: 0\n") == 3, 120, pause=0.5)

    def _unhealed(self) -> str:
        return self._gluster("heal", "backups", "info")

    def kill_mount(self, point: Path) -> None:
        """Kill the process behind a mount."""
        self._kill(point.name)

    def _make_network(self, stack: ExitStack) -> None:
        run("ip", "netns", "add", NAMESPACE)
        stack.callback(run, "ip", "netns", "delete", NAMESPACE)
        run("ip", "-n", NAMESPACE, "link", "set", "lo", "up")
        run("ip", "-n", NAMESPACE, "addr", "add", f"{ADDRESS}/32", "dev", "lo")

    def _start_daemon(self, stack: ExitStack) -> None:
        state = self._directory / "state"
        state.mkdir()
        volfile = self._directory / "glusterd.vol"
        volfile.write_text(VOLFILE.format(state))
        log, pid = self._directory / "glusterd.log", self._directory / "glusterd.pid"
        stack.callback(self._kill, "")
        self._inside("glusterd", "-f", volfile, "-p", pid, "-l", log)
        wait_until(self._answers, pause=0.1)

    def _answers(self) -> bool:
        with suppress(AssertionError):
            return bool(self._inside("gluster", "peer", "status"))
        return False

    def _make_volume(self, stack: ExitStack) -> None:
        bricks = [f"{ADDRESS}:{self._directory}/brick-{number}" for number in range(3)]
        self._gluster("create", "backups", "replica", "3", *bricks, "force")
        stack.callback(self._gluster, "stop", "backups", "force")
        for name, value in VOLUME_OPTIONS.items():
            self._gluster("set", "backups", name, value)
        self._gluster("start", "backups")

    def _mount(self, stack: ExitStack, point: Path) -> None:
        point.mkdir()
        self._inside("mount", "-t", "glusterfs", "-o", MOUNT_OPTIONS, f"{ADDRESS}:/backups", point)
        stack.callback(run, "umount", "--lazy", point)

    def _gluster(self, *words: str) -> str:
        return self._inside("gluster", "--mode=script", "volume", *words)

    def _inside(self, *command: str | Path) -> str:
        return run("nsenter", f"--net=/run/netns/{NAMESPACE}", *command)

    def _kill(self, what: str) -> None:
        """Kill the processes whose command line names this cluster's directory and ``what``."""
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                if f"{self._directory}/{what}".encode() in line.read_bytes():
                    os.kill(int(line.parent.name), signal.SIGKILL)
