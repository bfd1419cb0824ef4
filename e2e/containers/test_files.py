"""What the files of the two containers say of each other: no engine is needed for these."""

import re
import subprocess

from support import ROOT, SETTINGS

#: of the environment, but fixed in the container or given to gunicorn by hand
NOT_IN_ENV_FILE = {"HOST", "GUNICORN_CMD_ARGS"}
SET_BY_DEPLOY = {"BACKUP_REVISION", "PORTFOLIO_REVISION", "COMPOSE_PROJECT_NAME"}


def text_of(path):
    return (ROOT / path).read_text()


def test_env_example_documents_every_setting_and_changes_nothing():
    lines = [line for line in text_of(".env.example").splitlines() if line]
    assert all(line.startswith("#") for line in lines)
    documented = [line.partition("=")[0][1:] for line in lines if re.match("#[A-Z_]+=", line)]
    passed_on = re.findall(r"(?:^      - |\$\{)([A-Z_]+)", text_of("compose.yaml"), re.MULTILINE)
    assert sorted(documented) == sorted(set(passed_on) - SET_BY_DEPLOY)
    assert set(SETTINGS) - NOT_IN_ENV_FILE <= set(documented)


def test_the_scripts_pass_shellcheck_and_deploy_takes_no_argument():
    scripts = [ROOT / "deploy.sh", ROOT / "portfolio" / "nginx" / "settings.sh"]
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    deploy = subprocess.run([ROOT / "deploy.sh", "--help"], capture_output=True, text=True)
    assert (deploy.returncode, deploy.stdout) == (1, "")
    assert "no arguments" in deploy.stderr
