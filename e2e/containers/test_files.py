"""What the files of the two containers say of each other: no engine is needed for these."""

import re
import subprocess

import pytest
from support import ROOT, SETTINGS

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
    templates = {p.name: p.read_text() for p in (ROOT / "portfolio/nginx").glob("*.template")}
    head, _, rest = templates.pop("nginx.conf.template").partition("daemon off;")
    set_before, _, added = head.partition("settings.sh checks them")
    names = r"\$\{([A-Z_]+)\}"
    assert set(re.findall(names, rest + "".join(templates.values()))) == (
        set(re.findall(names, head))
    )
    environment = re.search(r"^ENV (.*?[^\\])$", text_of("portfolio/Dockerfile"), re.M | re.S)[1]
    assert set(re.findall(r"([A-Z_]+)=", environment)) == set(re.findall(names, set_before))
    exported = re.findall(r"([A-Z_]+)=", text_of("portfolio/nginx/settings.sh"))
    assert set(re.findall(names, added)) <= set(exported)


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


def test_the_scripts_pass_shellcheck():
    scripts = [ROOT / "deploy.sh", ROOT / "portfolio" / "nginx" / "settings.sh"]
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
