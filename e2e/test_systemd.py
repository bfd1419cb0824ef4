"""The wheel and the units, installed as docs/operations.md says on a machine with systemd.

The machine is a container that may do nearly all that its host may.
"""

import re
import subprocess
from collections.abc import Iterator

import pytest
from support import ROOT, Remote, free_port, wait_until

from backup_server import __version__

OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
BASE = re.search(r"^FROM (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[1]
IMAGE = f"""FROM {BASE}
RUN apt-get update && apt-get install --yes --no-install-recommends systemd-sysv restic
RUN pip install pipx
WORKDIR /checkout
ENV PIP_CONSTRAINT=/checkout/constraints.txt
CMD umount --recursive /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec /sbin/init
"""
CHECKOUT = ["backup_server", "systemd", "setup.cfg", "pyproject.toml", "constraints.txt"]
CHECKOUT += ["README.md", "LICENSE"]
#: The most exposed each service may be, of 10; docs/operations.md tells them.
EXPOSURES = {"": 1.1, "-check": 0.7, "-off-site": 2.5, "-prune": 0.7}


class Machine(Remote):
    """A container with systemd."""

    def __init__(self):
        self.port = free_port()
        build = ["docker", "build", "--quiet", "-"]
        image = subprocess.check_output(build, input=IMAGE, text=True).strip()
        may = ["--cap-add=ALL", "--cap-drop=SYS_RESOURCE", "--security-opt=seccomp=unconfined"]
        may += ["--security-opt=apparmor=unconfined"]
        place = ["--tmpfs=/run", "--tmpfs=/tmp", f"--publish=127.0.0.1:{self.port}:3081"]
        command = ["docker", "run", "--detach", *may, *place, image]
        self.name = subprocess.check_output(command, text=True).strip()

    def run(self, script: str) -> str:
        """Run a script as root; return what it prints."""
        command = ["docker", "exec", self.name, "bash", "-euc", script]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


def shown(first: str) -> str:
    """Return the docs' commands from this one on, for root."""
    block = re.search(rf"```sh\n({re.escape(first)}.*?)```", OPERATIONS, re.DOTALL)[1]
    return block.replace("sudo ", "")


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """Install the server on it, and start it."""
    machine = Machine()
    try:
        for name in CHECKOUT:
            subprocess.check_call(["docker", "cp", "-q", ROOT / name, f"{machine.name}:/checkout/"])
        wait_until(lambda: machine.run("systemctl is-system-running || true") != "offline\n", 60)
        machine.run("mkdir /etc/portfolio-backup")
        machine.run("echo HOST=0.0.0.0 >/etc/portfolio-backup/server.env")
        machine.run(shown("pip wheel"))
        machine.run(shown("sudo useradd"))
        yield machine
    finally:
        subprocess.check_call(["docker", "rm", "--force", "--volumes", machine.name])


def test_pipx_installs_one_command(machine):
    assert machine.run("ls /usr/local/bin/portfolio*") == "/usr/local/bin/portfolio-backup\n"
    assert machine.run("portfolio-backup --version") == f"portfolio-backup {__version__}\n"


def test_systemd_finds_no_fault_with_the_units(machine):
    assert machine.run("systemd-analyze verify systemd/*") == ""


@pytest.mark.parametrize("unit", EXPOSURES)
def test_no_service_is_more_exposed_than_the_docs_say(machine, unit):
    name, limit = f"portfolio-backup{unit}.service", EXPOSURES[unit]
    threshold = f"--threshold={round(limit * 10)}"
    machine.run(f"systemd-analyze security --offline=true {threshold} systemd/{name}")
    assert f"`{name}` {limit}" in OPERATIONS


def test_the_server_works_in_the_sandbox_of_its_unit(machine, sample):
    receipt = machine.upload(sample, "?key=key-of-this-upload")
    large = machine.upload({"atoms": ["x" * 20_000_000]})
    again = machine.post("/api/backup?key=key-of-this-upload", sample)
    assert (again.status, again.json) == (200, receipt)
    assert len(machine.get(f"/api/backup/{large['id']}").body) == large["size"]
    assert machine.request("DELETE", f"/api/backup/{large['id']}").status == 200
    assert machine.listed() == [receipt["id"]]

    process = machine.run("echo /proc/$(systemctl show -P MainPID portfolio-backup)").strip()
    status = dict(re.findall(r"^(\w+):\t(.*)$", machine.run(f"cat {process}/status"), re.MULTILINE))
    assert status["Uid"].split() == machine.run("id -u portfolio-backup").split() * 4
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
    root = f"{process}/root"
    modes = machine.run(f"stat --format %a {root}/var/lib/portfolio-backup{{,/backup-*}}")
    assert modes == "700\n600\n"
    refused = machine.run(f"touch {root}{{,/usr,/etc,/var,/home,/root}}/new 2>&1 || true")
    assert refused.count("Read-only file system") == 6
    machine.run("touch /root/theirs /tmp/theirs")
    assert "theirs" not in machine.run(f"ls {root}/root {root}/tmp")


@pytest.mark.parametrize(
    ("unit", "line"),
    [("-check", r"OK: \d+ backups, the newest, "), ("-prune", r"Deleted [1-9]\d* of \d+ backups")],
)
def test_a_command_works_in_the_sandbox_of_its_unit(machine, sample, unit, line):
    for _ in range(12):
        machine.upload(sample)
    machine.run(f"systemctl start portfolio-backup{unit}; journalctl --sync")
    assert re.search(line, machine.run(f"journalctl --unit portfolio-backup{unit}"))
