"""What the files of the two containers say of each other: no engine is needed for these."""

import re
import subprocess

import pytest
from support import ROOT, SETTINGS, require_tool

#: of the environment, but fixed in the container or given to gunicorn by hand
NOT_IN_ENV_FILE = {"HOST", "GUNICORN_CMD_ARGS"}
SET_BY_DEPLOY = {"BACKUP_REVISION", "PORTFOLIO_REVISION", "COMPOSE_PROJECT_NAME"}


def text_of(path):
    return (ROOT / path).read_text()


def variables_of_compose():
    passed_on = re.findall(r"^      - ([A-Z_]+)", text_of("compose.yaml"), re.MULTILINE)
    return {*passed_on, *re.findall(r"\$\{([A-Z_]+)", text_of("compose.yaml"))} - SET_BY_DEPLOY


def test_env_example_documents_every_setting_and_no_other():
    documented = re.findall(r"^#([A-Z_]+)=", text_of(".env.example"), re.MULTILINE)
    assert sorted(documented) == sorted(variables_of_compose())
    assert set(SETTINGS) - NOT_IN_ENV_FILE <= set(documented)


def test_env_example_changes_nothing_until_a_line_is_uncommented():
    lines = text_of(".env.example").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []


def test_every_name_in_the_nginx_templates_is_explained_there_and_has_a_default_in_the_image():
    head, _, rest = text_of("portfolio/nginx/nginx.conf.template").partition("daemon off;")
    others = (ROOT / "portfolio" / "nginx").glob("[!n]*.template")
    rest += "".join(path.read_text() for path in others)
    explained = set(re.findall(r"^#   \$\{([A-Z_]+)\}", head, re.MULTILINE))
    environment = re.search(r"^ENV (.*?[^\\])$", text_of("portfolio/Dockerfile"), re.M | re.S)[1]
    assert set(re.findall(r"\$\{([A-Z_]+)\}", rest)) == explained
    assert set(re.findall(r"([A-Z_]+)=", environment)) == explained


@pytest.mark.parametrize("dockerfile", ["Dockerfile", "portfolio/Dockerfile"])
def test_base_images_are_pinned_to_a_version_by_a_name_without_a_host(dockerfile):
    images = re.findall(r"^FROM (\S+)", text_of(dockerfile), re.MULTILINE)
    assert images
    for image in images:
        assert re.fullmatch(r"[a-z]+:\d+\.\d+\.\d+[a-z-]*", image)


def test_deploy_does_nothing_when_it_is_asked_for_what_it_does_not_know():
    deploy = subprocess.run([ROOT / "deploy.sh", "--help"], capture_output=True, text=True)
    assert deploy.returncode != 0
    assert "no arguments" in deploy.stderr
    assert deploy.stdout == ""


def test_deploy_passes_shellcheck():
    done = subprocess.run(
        [require_tool("shellcheck"), ROOT / "deploy.sh"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
