"""Both containers on a real Docker engine, put there by ./deploy.sh.

One deployment, in a Compose project and on ports of its own, that most tests share. Nothing of it
is left on the engine afterwards.
"""

import json
import os
import secrets
import subprocess

import pytest
from support import ROOT, SETTINGS, Remote, free_port

DEPLOYED_FILES = ("Dockerfile", ".dockerignore", "compose.yaml", "deploy.sh", "setup.cfg")
DEPLOYED_FILES += ("pyproject.toml", "constraints.txt", "backup_server", "portfolio")

#: The containers' own interval is 5 s.
CHECKED_OFTEN = """services:
  backup: {healthcheck: {interval: 1s}}
  portfolio: {healthcheck: {interval: 1s}}
  prune: {healthcheck: {interval: 1s}}
"""


def run(*command, **options):
    options = {"capture_output": True, "text": True, "check": True, "timeout": 300} | options
    return subprocess.run(command, **options)


class Deployment(Remote):
    """A copy of the project, deployed as a Compose project of its own; requests are nginx's.

    ``direct`` is the backup server's own port.
    """

    def __init__(self, directory):
        self.directory = directory
        self.project = f"portfolio-test-{secrets.token_hex(4)}"
        self.port, self.direct = free_port(), Remote()
        self.direct.port = free_port()
        self.environ = {k: v for k, v in os.environ.items() if k not in SETTINGS}
        self.environ["COMPOSE_PROJECT_NAME"] = self.project
        ignored = [f"--exclude={name}" for name in ("node_modules", "dist", "__pycache__")]
        packed = run("tar", "-c", *ignored, "-C", ROOT, *DEPLOYED_FILES, text=False).stdout
        run("tar", "-x", "-C", directory, input=packed, text=False)
        (directory / "compose.override.yaml").write_text(CHECKED_OFTEN)
        self.configure()

    def configure(self, **settings):
        """Write .env anew."""
        settings = {"PORTFOLIO_PORT": self.port, "PORT": self.direct.port} | settings
        lines = [f"{name}={value}\n" for name, value in settings.items()]
        (self.directory / ".env").write_text("".join(lines))

    def deploy(self, fails=False, **environ):
        """Run deploy.sh, from elsewhere; return its output and errors, mixed."""
        mixed = {"capture_output": False, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        environ = self.environ | environ
        done = run(f"{self.directory}/deploy.sh", cwd="/", env=environ, check=False, **mixed)
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout

    def compose(self, *arguments, **options):
        options = {"cwd": self.directory, "env": self.environ} | options
        return run("docker", "compose", *arguments, **options).stdout

    def start(self, *services, **options):
        self.compose("up", "--no-build", "--detach", "--wait", *services, **options)

    def execute(self, service, *command, **options):
        return self.compose("exec", "--no-TTY", service, *command, **options)

    def inspect(self, service, what):
        container = self.compose("ps", "--quiet", service).strip()
        return json.loads(run("docker", "inspect", "-f", f"{{{{json {what}}}}}", container).stdout)

    def running_since(self):
        """What changes if a container is replaced or restarted."""
        return [self.inspect(s, ".State.StartedAt") for s in ("portfolio", "backup")]

    def document(self, backup_id):
        answer = self.get(f"/api/backup/{backup_id}")
        assert answer.status == 200, answer.body
        return answer.body


@pytest.fixture(scope="session")
def shared_deployment(tmp_path_factory):
    deployment = Deployment(tmp_path_factory.mktemp("checkout"))
    try:
        deployment.first = deployment.deploy()
        yield deployment
    finally:
        down = ("down", "--volumes", "--rmi", "local", "--remove-orphans", "--timeout", "5")
        deployment.compose(*down)


@pytest.fixture
def deployment(shared_deployment):
    """The deployment all tests share, with its defaults."""
    if (shared_deployment.directory / "redeployed").exists():
        shared_deployment.deploy(NEW_STORAGE=f"{shared_deployment.project}_backup-data")
        (shared_deployment.directory / "redeployed").unlink()
    yield shared_deployment
    shared_deployment.configure()


@pytest.fixture
def redeployed(shared_deployment):
    """The same for a test that deploys other settings; the next test deploys anew."""
    (shared_deployment.directory / "redeployed").touch()
    yield shared_deployment
    shared_deployment.configure()
