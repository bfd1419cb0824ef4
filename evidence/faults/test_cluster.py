"""Two servers on two mounts of one replicated volume, while bricks are killed.

GlusterFS as docs/deployment.md sets it up, in a network namespace of its own with an address
reserved for documentation (RFC 5737), since it refuses loopback.
"""

import os
import re
import signal
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from support import ROOT, Server, wait_until

from .ledger import Ledger, inspect, load
from .mounts import run

ADDRESS = "192.0.2.1"
NAMESPACE = f"backup-cluster-{os.getpid()}"
DOCS = (ROOT / "docs" / "deployment.md").read_text()
RECIPE = re.search(r"```sh\n(gluster volume create.*?)(mount .*?)```", DOCS, re.DOTALL)
HEALING = "gluster volume heal backups info"
VOLFILE = """volume management
    type mgmt/glusterd
    option working-directory {}
    option transport-type socket
end-volume
"""


def inside(command: str) -> str:
    return run("nsenter", f"--net=/run/netns/{NAMESPACE}", "bash", "-euc", command)


class Cluster:
    """A volume of three bricks, and its mounts ``one`` and ``two``."""

    def __init__(self, directory: Path, stack: ExitStack):
        self.directory = directory
        (directory / "state").mkdir(parents=True)
        run("ip", "netns", "add", NAMESPACE)
        stack.callback(run, "ip", "netns", "delete", NAMESPACE)
        run("ip", "-n", NAMESPACE, "link", "set", "lo", "up")
        run("ip", "-n", NAMESPACE, "addr", "add", f"{ADDRESS}/32", "dev", "lo")
        (directory / "glusterd.vol").write_text(VOLFILE.format(directory / "state"))
        stack.callback(self.kill, "")
        inside(f"cd {directory}; glusterd -f $PWD/glusterd.vol -p $PWD/pid -l $PWD/log")
        inside("until gluster peer status; do sleep 0.1; done")
        make, mount = RECIPE.groups()
        for number, name in enumerate(("one", "two", "three")):
            make = make.replace(f"{name}:/brick", f"{ADDRESS}:{directory}/brick-{number}")
        inside(re.sub("(create .*)", r"\1 force", make))
        stack.callback(inside, "gluster --mode=script volume stop backups force")
        inside("gluster volume set backups network.ping-timeout 5")
        self.mounts = [directory / "one", directory / "two"]
        for point in self.mounts:
            point.mkdir()
            where = mount.replace("one:/", f"{ADDRESS}:/").replace("/mnt/shared", str(point))
            inside(where)
            stack.callback(run, "umount", "--lazy", point)

    def kill(self, what: str) -> None:
        """Kill the processes whose command line names this cluster's directory and ``what``."""
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                if f"{self.directory}/{what}".encode() in line.read_bytes():
                    os.kill(int(line.parent.name), signal.SIGKILL)

    def heal(self) -> None:
        """Start the bricks that were killed, and wait until each has what it missed."""
        inside("gluster volume start backups force")
        wait_until(lambda: inside(HEALING).count("entries: 0\n") == 3, 180, pause=0.5)


def test_bricks_that_die_under_load_lose_and_double_nothing(tmp_path, amount):
    ledger = Ledger({2_000: 70, 300_000: 20, 5_000_000: 10})
    with ExitStack() as stack:
        cluster = Cluster(tmp_path / "cluster", stack)
        servers = [Server(point / "data") for point in cluster.mounts]
        for server in servers:
            server.log_path = tmp_path / f"log-{server.port}"
            server.start()
            stack.callback(server.kill)
        for brick in range(1 + amount.seconds // 60):
            with load(servers, ledger):  # of which no request may fail
                time.sleep(3)
                cluster.kill(f"brick-{brick % 3}")
                ledger.counts["bricks killed"] += 1
                time.sleep(8)  # longer than the volume waits for it
            cluster.heal()
            inspect(servers, ledger)
        ledger.report()
