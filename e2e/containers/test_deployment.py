"""What deploy.sh does, what its containers may do, and backups through both of them."""

import concurrent.futures
import contextlib
import gzip
import json
import os
import re
import time

import pytest
from raw import connect, head, receive
from support import CATEGORIES, assert_error

from .conftest import run


def test_deploy_says_what_is_where_and_that_it_is_open_to_all(deployment):
    assert deployment.get("/").status == 200
    said = deployment.first
    assert re.search(rf"backup .*healthy.*127\.0\.0\.1:{deployment.direct.port}->", said)
    assert f"backups in {deployment.project}_backup-data" in said
    assert f"open http://localhost:{deployment.port}/\n" in said
    warning = f"warning: there is no token, so whoever reaches port {deployment.port} can"
    assert said.count(warning) == 1
    assert 'echo "BACKUP_TOKEN=$(openssl rand -hex 32)" >>.env && ./deploy.sh' in said


@contextlib.contextmanager
def another_project(deployment, service):
    """A running container of another project of the same name, which must go on running."""
    labels = {"project": deployment.project, "service": service, "oneoff": "False"}
    options = [f"--label=com.docker.compose.{name}={value}" for name, value in labels.items()]
    # The label of our image is not on an image of another project.
    options += ["--label=org.opencontainers.image.title=", "--entrypoint=sleep"]
    image = f"{deployment.project}-portfolio"
    other = run("docker", "run", "--detach", *options, image, "600").stdout.strip()
    try:
        yield
        state = run("docker", "inspect", "--format", "{{.State.Running}}", other).stdout
        assert state.strip() == "true"
    finally:
        run("docker", "rm", "--force", "--volumes", other)


def test_deploying_again_also_over_ssh_interrupts_nothing(deployment, tmp_path):
    # an ssh that runs the command here, as a shell on the other side would
    (tmp_path / "ssh").write_text(
        '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift 2\nunset DOCKER_HOST; exec "$@"\n'
    )
    (tmp_path / "ssh").chmod(0o755)
    path, before = f"{tmp_path}:{os.environ['PATH']}", deployment.running_since()
    with another_project(deployment, "web"):
        said = deployment.deploy(DOCKER_HOST="ssh://owner@far.example", PATH=path)
    assert "deployed to ssh://owner@far.example" in said
    assert f"open http://far.example:{deployment.port}/\n" in said
    assert deployment.running_since() == before
    with another_project(deployment, "portfolio"):
        said = deployment.deploy(fails=True)
    assert "is in the way: it belongs to another project" in said


OTHER = "NEW_STORAGE=/srv/other ./deploy.sh"


@pytest.mark.parametrize(
    ("settings", "exported", "said"),
    [
        ({"MAX_BODY_BYTES": "plenty"}, {}, "MAX_BODY_BYTES is 'plenty': give"),
        ({"BACKUP_TOKEN": ""}, {}, "BACKUP_TOKEN"),
        ({"BACKUPS_PATH": "backups"}, {}, "BACKUPS_PATH is 'backups': give a path such as"),
        ({}, {"DATA_DIR": "/srv/other"}, OTHER),
        ({"DATA_DIR": "/srv/other"}, {}, OTHER),
        ({}, {"BACKUP_VOLUME": "other"}, "NEW_STORAGE=other ./deploy.sh"),
        ({}, {"DATA_DIR": "/srv/other", "NEW_STORAGE": "/srv/third"}, OTHER),
        ({}, {}, "the build failed; what was running is untouched"),
    ],
)
def test_what_cannot_be_deployed_leaves_what_runs_as_it_is(deployment, settings, exported, said):
    before = deployment.running_since()
    dockerfile = deployment.directory / "Dockerfile"
    working = dockerfile.read_text()
    dockerfile.write_text(working if settings or exported else f"{working}RUN exit 7\n")
    deployment.configure(**settings)
    answer = deployment.deploy(fails=True, **exported)
    dockerfile.write_text(working)
    assert said in answer
    if "NEW_STORAGE" in said:
        assert f"the backups are in {deployment.project}_backup-data, and" in answer
    assert deployment.running_since() == before
    assert deployment.get("/api/health").status == 200


@pytest.mark.parametrize(
    ("service", "user", "writable", "port"),
    [
        ("backup", "10001", ["/data/backups"], "{direct}:127.0.0.1"),
        ("portfolio", "101", ["/var/cache/portfolio", "/etc/nginx/conf.d"], "{port}:"),
    ],
)
def test_a_container_has_no_rights_but_to_serve(deployment, service, user, writable, port):
    published = deployment.inspect(service, ".HostConfig.PortBindings")
    bound = [f"{one['HostPort']}:{one['HostIp']}" for (one,) in published.values()]
    assert bound == [port.format(direct=deployment.direct.port, port=deployment.port)]
    status = deployment.execute(service, "cat", "/proc/1/status")
    for right in (rf"Uid:\s+{user}\s+{user}\s", r"CapBnd:\s+0+$", r"NoNewPrivs:\s+1$"):
        assert re.search(f"^{right}", status, re.MULTILINE)
    places = ["/", "/venv", "/tmp", "/etc", "/data", "/srv", "/var/cache", *writable]
    script = 'for d; do touch $d/x && echo $d; rm -f "$d/x"; done 2>/dev/null || true'
    assert deployment.execute(service, "sh", "-c", script, "sh", *places).split() == writable


def test_the_commands_work_by_their_name_in_the_container(deployment, sample):
    backup_id = deployment.upload(sample)["id"]
    assert backup_id in deployment.execute("backup", "portfolio-backup", "list")
    restored = deployment.post("/api/restore", {"backupId": backup_id})
    assert (restored.status, restored.body) == (200, deployment.document(backup_id))
    assert restored.json["data"] == {name: json.loads(sample)[name] for name in CATEGORIES}


def test_fifty_megabytes_go_through_and_one_byte_more_does_not(deployment):
    largest = b'{"atoms":["%s"]}' % (b"x" * (52_428_800 - len(b'{"atoms":[""]}')))
    backup_id = deployment.upload(largest)["id"]
    assert len(deployment.document(backup_id)) > len(largest) == 52_428_800
    assert_error(deployment.request("POST", "/api/backup", largest + b" "), 413, "52428800")
    assert deployment.request("DELETE", f"/api/backup/{backup_id}").status == 200


def test_an_upload_under_way_ends_well_though_both_containers_stop_and_nothing_is_lost(
    deployment, sample
):
    earlier = deployment.upload(sample)["id"]
    before = deployment.document(earlier)
    with connect(deployment, head("POST /api/backup", f"Content-Length: {len(sample)}")) as sock:
        sock.sendall(sample[:500])
        assert deployment.get("/api/health").status == 200  # so nginx has seen it, too
        with concurrent.futures.ThreadPoolExecutor() as pool:
            stopping = pool.submit(deployment.compose, "stop")
            time.sleep(2)
            assert not stopping.done()
            sock.sendall(sample[500:])
            stored = receive(sock)
            sock.close()
    deployment.start()
    assert stored.status == 201
    assert deployment.document(stored.json["id"])
    assert deployment.document(earlier) == before


def test_without_the_backup_container_nginx_says_so_and_finds_the_next_one(deployment):
    started = deployment.inspect("portfolio", ".State.StartedAt")
    address = f'(index .NetworkSettings.Networks "{deployment.project}_default").IPAddress'
    old_address = deployment.inspect("backup", address)
    deployment.compose("stop", "backup")
    # 504 while the kernel still knows the way to its address, which nobody has any more
    answer = deployment.get("/api/health")
    assert_error(answer, 504 if answer.status == 504 else 502, "backup server")
    # something else that takes its address, so that the next container gets a new one
    sleep = ("run", "--detach", "--no-deps", "--entrypoint", "sleep", "portfolio", "60")
    squatter = deployment.compose(*sleep).strip()
    deployment.compose("rm", "--force", "backup")
    deployment.start("backup")
    run("docker", "rm", "--force", "--volumes", squatter)
    assert deployment.inspect("backup", address) != old_address
    assert deployment.get("/api/health").status == 200
    assert deployment.inspect("portfolio", ".State.StartedAt") == started


def test_a_deployment_that_is_not_healthy_fails_with_the_last_lines_of_the_service(
    deployment, redeployed, sample, tmp_path
):
    backup_id = redeployed.upload(sample)["id"]
    tmp_path.chmod(0o755)
    redeployed.configure(SITE_DIR=tmp_path)  # without an index.html
    said = redeployed.deploy(fails=True)
    assert "portfolio is running, unhealthy; its last lines:" in said
    assert "GET / 404" in said
    assert re.search("last health check: .*404", said)
    assert "the backups are untouched" in said
    assert redeployed.document(backup_id)


def test_one_env_file_reaches_both_containers(redeployed, sample, tmp_path):
    (tmp_path / "index.html").write_text("<h1>The owner's own site</h1>")
    tmp_path.chmod(0o755)
    redeployed.configure(
        PORTFOLIO_PORT=f"127.0.0.1:{redeployed.port}",
        PUBLIC_HOST="portfolio.example",
        TRUSTED_HOSTS="www.portfolio.example",
        CORS_ORIGINS="https://drafts.example",
        BACKUP_TOKEN="s3cret",
        MAX_BODY_BYTES="100000",
        WEB_CONCURRENCY="2",
        SITE_DIR=tmp_path,
        BACKUPS_PATH="/what-is-kept",
        CONTENT_SECURITY_POLICY="\"default-src 'self'\"",
    )
    said = redeployed.deploy()
    assert f"open http://localhost:{redeployed.port}/ on that machine" in said
    assert "warning" not in said
    get, token = redeployed.get, {"Authorization": "Bearer s3cret"}
    published = redeployed.inspect("portfolio", ".NetworkSettings.Ports")["8080/tcp"]
    assert published == [{"HostIp": "127.0.0.1", "HostPort": str(redeployed.port)}]
    assert get("/").body == b"<h1>The owner's own site</h1>"
    assert get("/").headers["Content-Security-Policy"] == "default-src 'self'"
    assert "default-src 'none'" in get("/what-is-kept/").headers["Content-Security-Policy"]
    for host in ("portfolio.example", "www.portfolio.example", "localhost"):
        assert get("/api/backup/list", Host=host, **token).status == 200
    assert_error(get("/api/backup/list", Host="evil.example", **token), 400, "TRUSTED_HOSTS")
    assert_error(get("/api/backup/list"), 401)
    headers = get("/api/backup/list", Origin="https://drafts.example", **token).headers
    assert headers["Access-Control-Allow-Origin"] == "https://drafts.example"
    assert redeployed.upload(sample, **token)
    large = b'{"atoms":["' + b"x" * 100_000 + b'"]}'
    assert_error(redeployed.post("/api/backup", large, **token), 413, "100000")
    zipped = {"Content_Encoding": "gzip"} | token  # it passes nginx
    assert_error(redeployed.post("/api/backup", gzip.compress(large), **zipped), 413, "100000")
    workers = redeployed.execute("backup", "sh", "-c", "cat /proc/[0-9]*/cmdline")
    assert workers.count("backup_server") >= 3  # the two and their parent
