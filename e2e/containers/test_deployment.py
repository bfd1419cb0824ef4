"""What deploy.sh does, what its containers may do, and backups through both of them."""

import base64
import concurrent.futures
import gzip
import json
import os
import re
import secrets
import socket
import threading
import time

import pytest
from raw import head, receive
from support import CATEGORIES, assert_error, free_port, wait_until

from .conftest import Direct, run

# --- deploying ------------------------------------------------------------------------------------


def test_deploy_says_what_is_where_and_that_it_is_open_to_all(deployment):
    assert deployment.get("/").status == 200
    said = deployment.first
    assert re.search(rf"backup .*healthy.*127\.0\.0\.1:{deployment.direct.port}->", said)
    assert f"backups in {deployment.project}_backup-data" in said
    assert f"open http://localhost:{deployment.port}/\n" in said
    warning = f"warning: there is no token, so whoever reaches port {deployment.port} can"
    assert said.count(warning) == 1
    assert 'echo "BACKUP_TOKEN=$(openssl rand -hex 32)" >>.env && ./deploy.sh' in said


def test_deploying_again_with_nothing_changed_interrupts_nothing(deployment):
    before = deployment.running_since()
    statuses, over = [], threading.Event()

    def keep_asking():
        while not over.wait(0.02):
            statuses.append(deployment.get("/api/health").status)

    asking = threading.Thread(target=keep_asking)
    asking.start()
    deployment.deploy()
    over.set()
    asking.join()
    assert deployment.running_since() == before
    assert set(statuses) == {200}


@pytest.mark.parametrize(
    ("settings", "exported", "said"),
    [
        ({"MAX_BODY_BYTES": "plenty"}, {}, "MAX_BODY_BYTES is 'plenty': give"),
        ({"BACKUP_TOKEN": ""}, {}, "BACKUP_TOKEN"),
        ({"BACKUPS_PATH": "backups"}, {}, "BACKUPS_PATH is 'backups': give a path such as"),
        ({}, {"DATA_DIR": "/srv/other"}, "NEW_STORAGE=/srv/other ./deploy.sh"),
        ({"DATA_DIR": "/srv/other"}, {}, "NEW_STORAGE=/srv/other ./deploy.sh"),
        ({}, {"BACKUP_VOLUME": "other"}, "NEW_STORAGE=other ./deploy.sh"),
        ({}, {"DATA_DIR": "/srv/other", "NEW_STORAGE": "/srv/third"}, "NEW_STORAGE=/srv/other"),
    ],
)
def test_a_wrong_setting_leaves_what_runs_as_it_is(deployment, settings, exported, said):
    before = deployment.running_since()
    deployment.configure(**settings)
    answer = deployment.deploy(fails=True, **exported)
    assert said in answer
    if "NEW_STORAGE" in said:
        assert f"the backups are in {deployment.project}_backup-data, and" in answer
    assert deployment.running_since() == before
    assert deployment.get("/api/health").status == 200


def test_a_build_that_fails_leaves_what_runs_as_it_is(deployment):
    before = deployment.running_since()
    dockerfile = deployment.directory / "Dockerfile"
    working = dockerfile.read_text()
    dockerfile.write_text(working + "RUN exit 7\n")
    said = deployment.deploy(fails=True)
    dockerfile.write_text(working)
    assert "the build failed; what was running is untouched" in said
    assert deployment.running_since() == before


def test_a_deployment_that_is_not_healthy_fails_with_the_last_lines_of_the_service(
    redeployed, sample, tmp_path
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


def test_a_remote_engine_is_reached_over_ssh(deployment, tmp_path):
    # an ssh that runs the command here, as a shell on the other side would
    (tmp_path / "ssh").write_text(
        '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift 2\nunset DOCKER_HOST; exec "$@"\n'
    )
    (tmp_path / "ssh").chmod(0o755)
    before = deployment.running_since()
    path = f"{tmp_path}:{os.environ['PATH']}"
    said = deployment.deploy(DOCKER_HOST="ssh://owner@far.example", PATH=path)
    assert "deployed to ssh://owner@far.example" in said
    assert f"open http://far.example:{deployment.port}/\n" in said
    assert deployment.running_since() == before


@pytest.mark.parametrize(("service", "in_the_way"), [("web", False), ("portfolio", True)])
def test_another_project_of_the_same_name_goes_on_running(deployment, service, in_the_way):
    labels = {"project": deployment.project, "service": service, "oneoff": "False"}
    options = [f"--label=com.docker.compose.{name}={value}" for name, value in labels.items()]
    # The label of our image is not on an image of another project.
    options.append("--label=org.opencontainers.image.title=")
    image = f"{deployment.project}-portfolio"
    other = run("docker", "run", "--detach", *options, "--entrypoint=sleep", image, "600")
    other = other.stdout.strip()
    try:
        said = deployment.deploy(fails=in_the_way)
        assert ("is in the way: it belongs to another project" in said) == in_the_way
        state = run("docker", "inspect", "--format", "{{.State.Running}}", other).stdout
        assert state.strip() == "true"
    finally:
        run("docker", "rm", "--force", "--volumes", other)


# --- how the containers run -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "user", "writable"),
    [
        ("backup", "10001", ["/data/backups"]),
        ("portfolio", "101", ["/var/cache/portfolio", "/etc/nginx/conf.d"]),
    ],
)
def test_a_container_has_no_rights_but_to_serve(deployment, service, user, writable):
    host = deployment.inspect(service, ".HostConfig")
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["LogConfig"]["Config"] == {"max-file": "3", "max-size": "10m"}
    status = deployment.execute(service, "cat", "/proc/1/status")
    assert re.search(rf"^Uid:\s+{user}\s+{user}\s", status, re.MULTILINE)
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    places = ["/", "/venv", "/tmp", "/etc", "/data", "/srv", "/var/cache", *writable]
    script = 'for d; do touch $d/x && echo $d; rm -f "$d/x"; done 2>/dev/null || true'
    assert deployment.execute(service, "sh", "-c", script, "sh", *places).split() == writable
    labels = deployment.inspect(service, ".Config.Labels")
    for name in ("title", "description", "licenses", "revision"):
        assert labels[f"org.opencontainers.image.{name}"]


def test_the_backup_image_has_the_commands_and_neither_compiler_nor_pip(deployment, sample):
    backup_id = deployment.upload(sample)["id"]
    assert backup_id in deployment.execute("backup", "portfolio-backup", "list")
    script = "for c in cc gcc make; do command -v $c; done; ls /venv/bin; echo asked"
    said = deployment.execute("backup", "sh", "-c", script)
    assert "gunicorn" in said
    assert not re.search(r"^(.*/)?(cc|gcc|make|pip\d*)$", said, re.MULTILINE)


def test_the_backup_server_is_published_on_loopback_only(deployment):
    ports = deployment.inspect("backup", ".NetworkSettings.Ports")
    bindings = [binding for published in ports.values() for binding in published or []]
    assert bindings == [{"HostIp": "127.0.0.1", "HostPort": str(deployment.direct.port)}]


# --- backups through both containers --------------------------------------------------------------


def test_a_backup_survives_a_restart_of_both_containers_byte_for_byte(deployment, sample):
    backup_id = deployment.upload(sample)["id"]
    before = deployment.document(backup_id)
    deployment.compose("restart")
    deployment.start()
    assert deployment.document(backup_id) == before
    body = json.dumps({"backupId": backup_id})
    restored = deployment.request("POST", "/api/restore", body, Content_Type="application/json")
    assert (restored.status, restored.body) == (200, before)
    sent = json.loads(sample)
    assert json.loads(before)["data"] == {name: sent.get(name, []) for name in CATEGORIES}


def test_fifty_megabytes_go_through_and_one_byte_more_does_not(deployment):
    largest = b'{"atoms":["%s"]}' % (b"x" * (52_428_800 - len(b'{"atoms":[""]}')))
    backup_id = deployment.upload(largest)["id"]
    assert len(deployment.document(backup_id)) > len(largest) == 52_428_800
    assert_error(deployment.request("POST", "/api/backup", largest + b" "), 413, "52428800")
    assert deployment.request("DELETE", f"/api/backup/{backup_id}").status == 200


def test_an_upload_under_way_ends_well_though_both_containers_are_told_to_stop(deployment):
    body = b'{"atoms":["%s"]}' % (b"x" * 1000)
    address = ("127.0.0.1", deployment.port)
    with socket.create_connection(address, timeout=60) as sock:
        sock.sendall(head("POST /api/backup", f"Content-Length: {len(body)}") + body[:500])
        time.sleep(0.5)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            stopping = pool.submit(deployment.compose, "stop")
            time.sleep(2)
            assert not stopping.done()
            sock.sendall(body[500:])
            stored = receive(sock)
            sock.close()
    deployment.start()
    assert stored.status == 201
    assert deployment.document(stored.json["id"])


def test_without_the_backup_container_nginx_says_so_and_finds_the_next_one(deployment):
    started = deployment.inspect("portfolio", ".State.StartedAt")
    old_address = address_of(deployment)
    deployment.compose("stop", "backup")
    assert_error(deployment.get("/api/health"), 502, "cannot be reached")
    assert_error(deployment.request("POST", "/api/backup", b"{}"), 502, "cannot be reached")
    assert deployment.get("/").status == 200
    # something else that takes its address, so that the next container gets a new one
    sleep = ("run", "--detach", "--no-deps", "--entrypoint", "sleep", "portfolio", "60")
    squatter = deployment.compose(*sleep).strip()
    deployment.compose("rm", "--force", "backup")
    deployment.start("backup")
    run("docker", "rm", "--force", "--volumes", squatter)
    assert address_of(deployment) != old_address
    assert deployment.get("/api/health").status == 200
    assert deployment.inspect("portfolio", ".State.StartedAt") == started


def address_of(deployment):
    networks = deployment.inspect("backup", ".NetworkSettings.Networks")
    return networks[f"{deployment.project}_default"]["IPAddress"]


def test_a_copy_taken_while_backups_are_made_has_all_that_were_acknowledged(
    deployment, sample, tmp_path
):
    over = threading.Event()
    acknowledged = [deployment.upload(sample)["id"]]

    def keep_backing_up():
        while not over.is_set():
            deployment.upload(sample)

    backing_up = threading.Thread(target=keep_backing_up)
    backing_up.start()
    deployment.compose("cp", "backup:/data/backups", str(tmp_path / "copy"))
    over.set()
    backing_up.join()
    copied = {path.name: path.read_text() for path in (tmp_path / "copy").glob("backup-*")}
    assert all(json.loads(document) for document in copied.values())
    for backup_id in acknowledged:
        document = copied[f"backup-{backup_id}.json"]
        assert deployment.request("DELETE", f"/api/backup/{backup_id}").status == 200
        # Written by the server's own user: a plain `compose cp` would make it root's alone.
        tee = ("tee", f"/data/backups/backup-{backup_id}.json")
        deployment.execute("backup", *tee, input=document)
        assert deployment.document(backup_id).decode() == document


def test_two_servers_share_one_directory(deployment, sample):
    second = Direct(free_port())
    published = f"127.0.0.1:{second.port}:{deployment.direct.port}"
    options = ("run", "--detach", "--no-deps", "--publish", published, "backup")
    container = deployment.compose(*options).strip()
    servers = [deployment.direct, second]
    try:
        wait_until(lambda: answers(second))
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            receipts = list(pool.map(lambda server: server.upload(sample), servers * 20))
        stored = sorted((receipt["id"] for receipt in receipts), reverse=True)
        assert servers[0].listed() == servers[1].listed()
        assert servers[0].listed()[: len(stored)] == stored
        key = "/api/backup?key=" + secrets.token_hex(8)
        first, again = (server.post(key, sample) for server in servers)
        assert (first.status, again.status, again.body) == (201, 200, first.body)
    finally:
        run("docker", "rm", "--force", "--volumes", container)


def answers(server):
    try:
        return server.get("/api/health").status == 200
    except OSError:
        return False


# --- settings and storage -------------------------------------------------------------------------


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
    page = get("/what-is-kept/")
    assert b"<title>" in page.body
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]

    for host in ("portfolio.example", "www.portfolio.example", "localhost"):
        assert get("/api/backup/list", Host=host, **token).status == 200
    assert_error(get("/api/backup/list", Host="evil.example", **token), 400, "TRUSTED_HOSTS")
    assert redeployed.direct.get("/api/backup/list", **token).status == 200

    assert_error(get("/api/backup/list"), 401)
    basic = base64.b64encode(b"owner:s3cret").decode()
    assert get("/api/backup/list", Authorization=f"Basic {basic}").status == 200
    assert get("/api/health").status == 200

    headers = get("/api/backup/list", Origin="https://drafts.example", **token).headers
    assert headers["Access-Control-Allow-Origin"] == "https://drafts.example"
    assert_error(get("/api/backup/list", Origin="http://localhost:1", Host="[::1]", **token), 403)

    assert redeployed.upload(sample, **token)
    large = b'{"atoms":["' + b"x" * 100_000 + b'"]}'
    assert_error(redeployed.post("/api/backup", large, **token), 413, "100000")
    zipped = gzip.compress(large)
    answer = redeployed.post("/api/backup", zipped, Content_Encoding="gzip", **token)
    assert_error(answer, 413, "100000")

    workers = redeployed.execute("backup", "sh", "-c", "cat /proc/[0-9]*/cmdline")
    assert workers.count("backup_server") >= 3  # the two and their parent


def test_a_full_volume_is_a_507_and_what_was_stored_stays(redeployed, volume, sample):
    name = volume("--opt=type=tmpfs", "--opt=device=tmpfs", "--opt=o=size=4m,uid=10001")
    redeployed.configure(BACKUP_VOLUME=name)
    redeployed.deploy(NEW_STORAGE=name)
    backup_id = redeployed.upload(sample)["id"]
    before = redeployed.document(backup_id)
    large = b'{"atoms":["' + b"x" * 6_000_000 + b'"]}'
    assert_error(redeployed.request("POST", "/api/backup", large), 507)
    assert redeployed.document(backup_id) == before
    assert redeployed.listed() == [backup_id]
    redeployed.upload(sample)  # there is room for this one
