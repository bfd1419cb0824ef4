"""Both containers on a real Docker engine, put there by ./deploy.sh.

One deployment, in a Compose project and on ports of its own, that most tests share; a test that
changes its settings puts them back. Nothing of it is left on the engine afterwards.
"""

import base64
import concurrent.futures
import gzip
import http.client
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest
from support import CATEGORIES, ROOT, SETTINGS, free_port, require_tool

DEPLOYED_FILES = ("Dockerfile", ".dockerignore", "compose.yaml", "deploy.sh", "setup.cfg")
DEPLOYED_FILES += ("constraints.txt", "backup_server", "portfolio")
EXPRESS_DATA = ROOT / "tests" / "samples" / "express-data"


def run(*command, **options):
    options = {"capture_output": True, "text": True, "check": True, "timeout": 300} | options
    return subprocess.run(command, **options)


@pytest.fixture(scope="module", autouse=True)
def docker():
    require_tool("docker")
    if run("docker", "info", check=False).returncode != 0:
        pytest.fail("docker is installed, but its engine does not answer")
    if run("docker", "compose", "version", check=False).returncode != 0:
        pytest.fail("docker is installed without Compose v2 (docker compose)")


class Deployment:
    """A copy of the project, deployed as a Compose project of its own."""

    def __init__(self, directory, override=None):
        self.directory = directory
        self.project = f"portfolio-test-{secrets.token_hex(4)}"
        self.port, self.backup_port = free_port(), free_port()
        self.environ = {k: v for k, v in os.environ.items() if k not in SETTINGS}
        self.environ["COMPOSE_PROJECT_NAME"] = self.project
        directory.mkdir()
        for name in DEPLOYED_FILES:
            source = ROOT / name
            if source.is_dir():
                ignore = shutil.ignore_patterns("node_modules", "dist", "__pycache__")
                shutil.copytree(source, directory / name, ignore=ignore)
            else:
                shutil.copy2(source, directory / name)
        if override:
            (directory / "compose.override.yaml").write_text(override)
        self.configure()

    def configure(self, **settings):
        """Write .env anew."""
        settings = {"PORTFOLIO_PORT": self.port, "PORT": self.backup_port} | settings
        lines = [f"{name}={value}\n" for name, value in settings.items()]
        (self.directory / ".env").write_text("".join(lines))

    def deploy(self, check=True, **environ):
        """Run deploy.sh, from elsewhere; returns the finished process, output and errors mixed."""
        done = run(
            str(self.directory / "deploy.sh"),
            cwd="/",
            env=self.environ | environ,
            check=False,
            capture_output=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert not check or done.returncode == 0, done.stdout
        return done

    def compose(self, *arguments, **options):
        return run(
            "docker", "compose", *arguments, cwd=self.directory, env=self.environ, **options
        ).stdout

    def container(self, service):
        return self.compose("ps", "--quiet", service).strip()

    def inspect(self, service, what):
        output = run(
            "docker", "inspect", "--format", f"{{{{json {what}}}}}", self.container(service)
        )
        return json.loads(output.stdout)

    def running_since(self):
        """What changes if a container is replaced or restarted."""
        services = ("portfolio", "backup")
        return [(self.container(s), self.inspect(s, ".State.StartedAt")) for s in services]

    def ask(self, path, method="GET", body=None, port=None, **headers):
        """One request, through nginx unless a port is given; returns status, headers, body."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=60)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        answer = response.status, response.headers, response.read()
        connection.close()
        return answer

    def back_up(self, document, **options):
        status, _, body = self.ask("/api/backup", "POST", body=document, **options)
        assert status == 201, body
        return json.loads(body)

    def remove(self):
        self.compose("down", "--volumes", "--rmi", "local", "--remove-orphans", "--timeout", "5")


def assert_error(answer, status, *words):
    got, headers, body = answer
    assert got == status, body
    assert headers["Content-Type"] == "application/json"
    assert list(json.loads(body)) == ["error"]
    for word in words:
        assert word in json.loads(body)["error"]


@contextmanager
def deployed(directory, override=None):
    deployment = Deployment(directory, override)
    try:
        deployment.first = deployment.deploy()
        yield deployment
    finally:
        deployment.remove()


@pytest.fixture(scope="module")
def shared_deployment(docker, tmp_path_factory):
    with deployed(tmp_path_factory.mktemp("deployment") / "checkout") as deployment:
        yield deployment


@pytest.fixture
def deployment(shared_deployment):
    """The deployment all tests share, with its defaults; unhealthy, it would fail them all."""
    yield shared_deployment
    shared_deployment.configure()


@pytest.fixture
def redeployed(deployment):
    """The same for a test that deploys other settings or images: deployed afresh afterwards."""
    yield deployment
    deployment.configure()
    deployment.deploy()


# --- deploying ------------------------------------------------------------------------------------


def test_deploy_returns_when_site_and_api_answer_and_says_what_is_where(deployment):
    assert deployment.ask("/")[0] == 200
    assert json.loads(deployment.ask("/api/health")[2])["status"] == "ok"
    assert deployment.ask("/api/health", port=deployment.backup_port)[0] == 200
    said = deployment.first.stdout
    assert re.search(rf"backup .*healthy.*127\.0\.0\.1:{deployment.backup_port}->", said)
    assert re.search(rf"portfolio .*healthy.*0\.0\.0\.0:{deployment.port}->", said)
    assert f"backups in {deployment.project}_backup-data" in said


def test_deploying_again_with_nothing_changed_interrupts_nothing(deployment):
    before = deployment.running_since()
    statuses, stop = [], threading.Event()

    def keep_asking():
        while not stop.wait(0.02):
            statuses.append(deployment.ask("/api/health")[0])

    asking = threading.Thread(target=keep_asking)
    asking.start()
    started = time.monotonic()
    deployment.deploy()
    seconds = time.monotonic() - started
    stop.set()
    asking.join()
    assert deployment.running_since() == before
    assert set(statuses) == {200}
    assert seconds < 30


def test_a_build_that_fails_leaves_the_old_version_serving(deployment):
    before = deployment.running_since()
    dockerfile = deployment.directory / "Dockerfile"
    working = dockerfile.read_text()
    try:
        dockerfile.write_text(working + "RUN exit 7\n")
        done = deployment.deploy(check=False)
    finally:
        dockerfile.write_text(working)
    assert done.returncode != 0
    assert "the build failed; what was running is untouched" in done.stdout
    assert deployment.running_since() == before
    assert deployment.ask("/api/health")[0] == 200


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"MAX_BODY_BYTES": "plenty"}, "MAX_BODY_BYTES is 'plenty': give"),
        ({"BACKUP_TOKEN": ""}, "BACKUP_TOKEN"),
        ({"CONTENT_SECURITY_POLICY": "'\";'"}, "nginx does not start with these settings"),
    ],
)
def test_a_wrong_setting_leaves_the_old_version_serving(deployment, settings, said):
    before = deployment.running_since()
    deployment.configure(**settings)
    done = deployment.deploy(check=False)
    assert done.returncode != 0
    assert said in done.stdout
    assert "what was running is untouched" in done.stdout
    assert deployment.running_since() == before


def test_a_deployment_that_is_not_healthy_fails_with_the_last_lines_of_the_service(
    redeployed, sample, tmp_path
):
    receipt = redeployed.back_up(sample)
    tmp_path.chmod(0o755)
    redeployed.configure(SITE_DIR=tmp_path)  # without an index.html
    done = redeployed.deploy(check=False)
    assert done.returncode != 0
    assert "portfolio is running, unhealthy; its last lines:" in done.stdout
    assert "GET / 404" in done.stdout
    assert re.search("last health check: .*404", done.stdout)
    assert "the backups are untouched" in done.stdout
    assert redeployed.ask(f"/api/backup/{receipt['id']}")[0] == 200


def test_a_remote_engine_is_reached_over_ssh(deployment, tmp_path):
    # an ssh that runs the command here, as a shell on the other side would
    log = tmp_path / "ssh.log"
    (tmp_path / "ssh").write_text(
        f'#!/bin/sh\necho "$@" >>{log}\n'
        'while [ "$1" != -- ]; do shift; done; shift 2\n'
        'unset DOCKER_HOST; exec "$@"\n'
    )
    (tmp_path / "ssh").chmod(0o755)
    before = deployment.running_since()
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = deployment.deploy(DOCKER_HOST="ssh://owner@far.example", PATH=path)
    assert "deployed to ssh://owner@far.example" in done.stdout
    assert "far.example" in log.read_text()
    assert deployment.running_since() == before


# --- how the containers run -----------------------------------------------------------------------


@pytest.mark.parametrize(("service", "user"), [("backup", "10001"), ("portfolio", "101")])
def test_a_container_has_no_rights_but_to_serve(deployment, service, user):
    host = deployment.inspect(service, ".HostConfig")
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["LogConfig"]["Config"] == {"max-file": "3", "max-size": "10m"}
    status = deployment.compose("exec", "-T", service, "cat", "/proc/1/status")
    assert re.search(rf"^Uid:\s+{user}\s+{user}\s", status, re.MULTILINE)
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)


def test_the_backup_container_writes_to_the_storage_directory_only(deployment):
    script = "for d in / /app /venv /tmp /etc /data; do touch $d/x && echo wrote $d; done; "
    script += "touch /data/backups/.probe && rm /data/backups/.probe && echo stored"
    said = deployment.compose("exec", "-T", "backup", "sh", "-c", script)
    assert said.strip() == "stored"


def test_the_backup_image_has_no_compiler_and_no_pip(deployment):
    script = "for c in cc gcc make; do command -v $c; done; ls /venv/bin; echo asked"
    said = deployment.compose("exec", "-T", "backup", "sh", "-c", script)
    assert "gunicorn" in said
    assert not re.search(r"^(.*/)?(cc|gcc|make|pip\d*)$", said, re.MULTILINE)


def test_the_backup_server_is_published_on_loopback_only(deployment):
    ports = deployment.inspect("backup", ".NetworkSettings.Ports")
    bindings = [binding for published in ports.values() for binding in published or []]
    assert bindings == [{"HostIp": "127.0.0.1", "HostPort": str(deployment.backup_port)}]


def test_images_have_oci_labels(deployment):
    for service in ("backup", "portfolio"):
        labels = deployment.inspect(service, ".Config.Labels")
        for name in ("title", "description", "licenses", "revision"):
            assert labels[f"org.opencontainers.image.{name}"]


# --- backups through both containers --------------------------------------------------------------


def test_a_backup_survives_a_restart_of_both_containers_byte_for_byte(deployment, sample):
    receipt = deployment.back_up(sample)
    address = f"/api/backup/{receipt['id']}"
    before = deployment.ask(address)[2]
    deployment.compose("restart")
    deployment.compose("up", "--no-build", "--detach", "--wait")
    assert deployment.ask(address)[2] == before
    body = json.dumps({"backupId": receipt["id"]})
    restored = deployment.ask("/api/restore", "POST", body, Content_Type="application/json")
    assert (restored[0], restored[2]) == (200, before)
    sent = json.loads(sample)
    assert json.loads(before)["data"] == {name: sent.get(name, []) for name in CATEGORIES}


def test_fifty_megabytes_go_through_and_one_byte_more_does_not(deployment):
    frame = len(b'{"atoms":[""]}')
    largest = b'{"atoms":["' + b"x" * (52_428_800 - frame) + b'"]}'
    assert len(largest) == 52_428_800
    receipt = deployment.back_up(largest)
    address = f"/api/backup/{receipt['id']}"
    assert len(deployment.ask(address)[2]) == receipt["size"] > len(largest)
    assert_error(deployment.ask("/api/backup", "POST", largest + b" "), 413, "52428800")
    assert deployment.ask(address, "DELETE")[0] == 200


def test_an_upload_under_way_ends_well_though_both_containers_are_told_to_stop(deployment):
    body = json.dumps({"atoms": ["x" * 1000]}).encode()
    head = f"POST /api/backup HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", deployment.port), timeout=60) as sock:
        sock.sendall(head.encode() + body[:500])
        time.sleep(0.5)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            stopping = pool.submit(deployment.compose, "stop")
            time.sleep(2)
            assert not stopping.done()
            sock.sendall(body[500:])
            response = http.client.HTTPResponse(sock)
            response.begin()
            receipt = json.loads(response.read())
            assert response.status == 201
            response.close()
            sock.close()
    deployment.compose("up", "--no-build", "--detach", "--wait")
    assert deployment.ask(f"/api/backup/{receipt['id']}")[0] == 200


def test_without_the_backup_container_nginx_says_so_and_finds_the_next_one(deployment):
    started = deployment.inspect("portfolio", ".State.StartedAt")
    old_address = address_of(deployment)
    deployment.compose("stop", "backup")
    try:
        assert_error(deployment.ask("/api/health"), 502, "cannot be reached")
        assert_error(deployment.ask("/api/backup", "POST", b"{}"), 502, "cannot be reached")
        assert deployment.ask("/")[0] == 200
        # something else that takes its address, so that the next container gets a new one
        squatter = deployment.compose(
            *("run", "--detach", "--no-deps", "--entrypoint", "sleep", "portfolio", "60")
        ).strip()
    finally:
        deployment.compose("rm", "--force", "backup")
        deployment.compose("up", "--no-build", "--detach", "--wait", "backup")
    run("docker", "rm", "--force", squatter)
    assert address_of(deployment) != old_address
    assert deployment.ask("/api/health")[0] == 200
    assert deployment.inspect("portfolio", ".State.StartedAt") == started


def address_of(deployment):
    networks = deployment.inspect("backup", ".NetworkSettings.Networks")
    return networks[f"{deployment.project}_default"]["IPAddress"]


def test_a_full_volume_is_a_507_and_what_was_stored_stays(tmp_path, sample):
    override = """
volumes:
  backup-data:
    driver_opts: {type: tmpfs, device: tmpfs, o: "size=4m,uid=10001"}
"""
    large = b'{"atoms":["' + b"x" * 6_000_000 + b'"]}'
    with deployed(tmp_path / "checkout", override) as deployment:
        receipt = deployment.back_up(sample)
        address = f"/api/backup/{receipt['id']}"
        before = deployment.ask(address)[2]
        assert_error(deployment.ask("/api/backup", "POST", large), 507)
        assert deployment.ask(address)[2] == before
        backups = json.loads(deployment.ask("/api/backup/list")[2])["backups"]
        assert [backup["id"] for backup in backups] == [receipt["id"]]
        deployment.back_up(sample)  # there is room for this one


def test_a_copy_of_the_directory_taken_while_it_is_in_use_is_a_copy_of_every_backup(
    deployment, sample, tmp_path
):
    stored = {}
    stop = threading.Event()

    def keep_backing_up():
        while not stop.is_set():
            backup_id = deployment.back_up(sample)["id"]
            stored[backup_id] = deployment.ask(f"/api/backup/{backup_id}")[2]

    backing_up = threading.Thread(target=keep_backing_up)
    backing_up.start()
    time.sleep(0.5)
    acknowledged = dict(stored)
    deployment.compose("cp", "backup:/data/backups", str(tmp_path / "copy"))
    stop.set()
    backing_up.join()

    copied = {path.name: path.read_bytes() for path in (tmp_path / "copy").glob("backup-*")}
    assert acknowledged
    assert {f"backup-{i}.json": document for i, document in acknowledged.items()}.items() <= (
        copied.items()
    )
    for name, document in copied.items():
        assert json.loads(document), f"{name} is whole"
    lost = max(acknowledged)
    assert deployment.ask(f"/api/backup/{lost}", "DELETE")[0] == 200
    name = f"backup-{lost}.json"
    # Written by the server's own user: a plain `compose cp` would make it root's alone.
    tee = ["exec", "--no-TTY", "backup", "tee", f"/data/backups/{name}"]
    deployment.compose(*tee, input=(tmp_path / "copy" / name).read_text())
    assert deployment.ask(f"/api/backup/{lost}")[2] == acknowledged[lost]


def test_two_servers_share_one_directory(deployment, sample):
    port = free_port()
    second = deployment.compose(
        *(
            "run",
            "--detach",
            "--no-deps",
            "--publish",
            f"127.0.0.1:{port}:{deployment.backup_port}",
        ),
        "backup",
    ).strip()
    try:
        wait_until_healthy(deployment, port)
        ports = [deployment.backup_port, port] * 20

        def back_up(number):
            return deployment.back_up(sample, port=ports[number])["id"]

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            stored = list(pool.map(back_up, range(len(ports))))
        assert len(set(stored)) == len(stored)
        lists = [deployment.ask("/api/backup/list", port=p)[2] for p in set(ports)]
        assert lists[0] == lists[1]
        newest = [backup["id"] for backup in json.loads(lists[0])["backups"]][: len(stored)]
        assert newest == sorted(stored, reverse=True)
        key = "/api/backup?key=" + "k" * 16
        first = deployment.ask(key, "POST", sample, port=ports[0])
        again = deployment.ask(key, "POST", sample, port=ports[1])
        assert (first[0], again[0]) == (201, 200)
        assert first[2] == again[2]
    finally:
        run("docker", "rm", "--force", second)


def wait_until_healthy(deployment, port, seconds=20):
    deadline = time.monotonic() + seconds
    while True:
        try:
            assert deployment.ask("/api/health", port=port)[0] == 200
            return
        except OSError:
            assert time.monotonic() < deadline, "the second server does not answer"
            time.sleep(0.1)


# --- settings -------------------------------------------------------------------------------------


def test_one_env_file_reaches_both_containers(redeployed, sample, tmp_path):
    site = tmp_path / "dist"
    site.mkdir()
    (site / "index.html").write_text("<h1>The owner's own site</h1>")
    tmp_path.chmod(0o755)
    redeployed.configure(
        PORTFOLIO_PORT=f"127.0.0.1:{redeployed.port}",
        PUBLIC_HOST="portfolio.example",
        TRUSTED_HOSTS="www.portfolio.example",
        CORS_ORIGINS="https://drafts.example",
        BACKUP_TOKEN="s3cret",
        MAX_BODY_BYTES="100000",
        WEB_CONCURRENCY="2",
        SITE_DIR=site,
        CONTENT_SECURITY_POLICY="\"default-src 'self'\"",
    )
    redeployed.deploy()
    ask, token = redeployed.ask, {"Authorization": "Bearer s3cret"}

    published = redeployed.inspect("portfolio", ".NetworkSettings.Ports")["8080/tcp"]
    assert published == [{"HostIp": "127.0.0.1", "HostPort": str(redeployed.port)}]

    status, headers, body = ask("/")
    assert (status, body) == (200, b"<h1>The owner's own site</h1>")
    assert headers["Content-Security-Policy"] == "default-src 'self'"

    for host in ("portfolio.example", "www.portfolio.example", "localhost"):
        assert ask("/api/backup/list", Host=host, **token)[0] == 200
    assert_error(ask("/api/backup/list", Host="evil.example", **token), 400, "TRUSTED_HOSTS")
    assert ask("/api/backup/list", port=redeployed.backup_port, **token)[0] == 200

    assert_error(ask("/api/backup/list"), 401)
    basic = base64.b64encode(b"owner:s3cret").decode()
    assert ask("/api/backup/list", Authorization=f"Basic {basic}")[0] == 200
    assert ask("/api/health")[0] == 200

    headers = ask("/api/backup/list", Origin="https://drafts.example", **token)[1]
    assert headers["Access-Control-Allow-Origin"] == "https://drafts.example"
    assert_error(ask("/api/backup/list", Origin="http://localhost:1", Host="[::1]", **token), 403)

    assert redeployed.back_up(sample, **token)["size"] > len(sample)
    large = b'{"atoms":["' + b"x" * 100_000 + b'"]}'
    assert_error(ask("/api/backup", "POST", large, **token), 413, "100000")
    zipped = ask("/api/backup", "POST", gzip.compress(large), Content_Encoding="gzip", **token)
    assert_error(zipped, 413, "100000")

    workers = redeployed.compose("exec", "-T", "backup", "sh", "-c", "cat /proc/[0-9]*/cmdline")
    assert workers.count("backup_server") >= 3  # the two and their parent


# --- upgrading from the Express server ------------------------------------------------------------


def test_a_volume_that_the_express_server_wrote_is_taken_over_by_one_command(deployment):
    volume = f"{deployment.project}-express"
    run("docker", "volume", "create", volume)
    try:
        fill_as_root(deployment, volume)
        before = deployment.running_since()
        deployment.configure(BACKUP_VOLUME=volume)
        refused = deployment.deploy(check=False)
        assert refused.returncode != 0
        assert deployment.running_since() == before
        command = re.search(r"^  (docker compose run .*)$", refused.stdout, re.MULTILINE)[1]
        deployment.compose(*command.split()[2:])
        deployment.deploy()

        listed = json.loads(deployment.ask("/api/backup/list")[2])["backups"]
        written = {path.name: path.read_bytes() for path in EXPRESS_DATA.iterdir()}
        assert {f"backup-{backup['id']}.json" for backup in listed} == set(written)
        for backup in listed:
            document = deployment.ask(f"/api/backup/{backup['id']}")[2]
            assert document == written[f"backup-{backup['id']}.json"]
        address = f"/api/backup/{listed[0]['id']}"
        assert deployment.ask(address, "DELETE")[0] == 200
    finally:
        deployment.configure()
        deployment.deploy()
        run("docker", "volume", "rm", volume)


def fill_as_root(deployment, volume):
    """Copy the sample files into a volume, by way of a container since the engine may be remote."""
    image = run("docker", "inspect", "--format", "{{.Image}}", deployment.container("backup"))
    helper = f"{deployment.project}-fill"
    run(
        *("docker", "run", "--rm", "--interactive", "--name", helper, "--user", "0"),
        *("--volume", f"{volume}:/data/backups", "--entrypoint", "sh", image.stdout.strip()),
        *("-c", "chown 0:0 /data/backups && tar -x --no-same-owner -C /data/backups"),
        input=run("tar", "-c", "-C", EXPRESS_DATA, ".", text=False).stdout,
        text=False,
    )
