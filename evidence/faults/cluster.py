"""A replicated GlusterFS volume of three bricks, mounted twice, as two machines would mount it.

It lives in a network namespace of its own, with an address reserved for documentation (RFC 5737),
since GlusterFS refuses loopback. Debian packages: glusterfs-server iproute2; root only.
"""

import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

from support import wait_until

TOOLS = ("glusterd", "gluster", "mount.glusterfs", "ip", "nsenter")
_ADDRESS = "192.0.2.1"
_NAMESPACE = "backup-cluster"
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


class Cluster:
    """Three bricks and the mounts ``one`` and ``two``; ends with the ``with`` block."""

    def __init__(self, directory: Path):
        self._directory = directory
        directory.mkdir()
        self.mounts = [directory / "one", directory / "two"]
        self._stack = ExitStack()

    def __enter__(self) -> "Cluster":
        with ExitStack() as stack:
            self._make_network(stack)
            self._start_daemon(stack)
            self._make_volume(stack)
            for point in self.mounts:
                self._mount(stack, point)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def kill_brick(self) -> None:
        """Kill the process of the first brick."""
        _kill(f"glusterfsd .*{self._directory}/brick-0")

    def kill_mount(self, point: Path) -> None:
        """Kill the process behind a mount."""
        _kill(f"glusterfs .*{point}$")

    def _make_network(self, stack: ExitStack) -> None:
        _run("ip", "netns", "add", _NAMESPACE)
        stack.callback(_run, "ip", "netns", "delete", _NAMESPACE)
        _run("ip", "-n", _NAMESPACE, "link", "set", "lo", "up")
        _run("ip", "-n", _NAMESPACE, "addr", "add", f"{_ADDRESS}/32", "dev", "lo")

    def _start_daemon(self, stack: ExitStack) -> None:
        state = self._directory / "state"
        state.mkdir()
        volfile = self._directory / "glusterd.vol"
        volfile.write_text(
            "volume management\n    type mgmt/glusterd\n"
            f"    option working-directory {state}\n"
            "    option transport-type socket\nend-volume\n"
        )
        log, pid = self._directory / "glusterd.log", self._directory / "glusterd.pid"
        stack.callback(_kill, str(self._directory))
        self._inside("glusterd", "-f", str(volfile), "-p", str(pid), "-l", str(log))
        wait_until(lambda: self._inside("gluster", "peer", "status", check=False) == 0, pause=0.1)

    def _make_volume(self, stack: ExitStack) -> None:
        bricks = [f"{_ADDRESS}:{self._directory}/brick-{number}" for number in range(3)]
        self._gluster("create", "backups", "replica", "3", *bricks, "force")
        stack.callback(self._gluster, "stop", "backups", "force")
        for name, value in VOLUME_OPTIONS.items():
            self._gluster("set", "backups", name, value)
        self._gluster("start", "backups")

    def _mount(self, stack: ExitStack, point: Path) -> None:
        point.mkdir()
        source = f"{_ADDRESS}:/backups"
        self._inside("mount", "-t", "glusterfs", "-o", MOUNT_OPTIONS, source, str(point))
        stack.callback(_run, "umount", "--lazy", str(point))

    def _gluster(self, *words: str) -> None:
        self._inside("gluster", "--mode=script", "volume", *words)

    def _inside(self, *command: str, check: bool = True) -> int:
        return _run("nsenter", f"--net=/run/netns/{_NAMESPACE}", *command, check=check)


def _run(*command: str, check: bool = True) -> int:
    run = subprocess.run(command, capture_output=True, text=True)
    assert not check or run.returncode == 0, f"{command}: {run.stdout}{run.stderr}"
    return run.returncode


def _kill(pattern: str) -> None:
    subprocess.run(["pkill", f"-{signal.SIGKILL.value}", "-f", pattern], check=False)
