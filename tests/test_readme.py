"""The README and the docs: what they tell people to set, open and read is there."""

import re

import pytest
from support import ROOT, SETTINGS

from backup_server.settings import Settings

README = (ROOT / "README.md").read_text()
TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for folder in (".", "docs", "portfolio", "e2e", "evidence")
    for path in ROOT.glob(f"{folder}/*.md")
}
#: What is set in the environment of other programs than the two containers.
OTHERS_SETTINGS = {
    "GUNICORN_CMD_ARGS", "DOCKER_HOST", "BENCH_DIR", "CI", "PATH", "PIPX_HOME", "PIPX_BIN_DIR",
    "RESTIC_REPOSITORY", "RESTIC_PASSWORD_FILE", "DAC_OVERRIDE", "COMPOSE_PROJECT_NAME",
    "NEW_STORAGE", "PYTHONPATH", "BACKUP_SERVER",
}  # fmt: skip


def test_every_setting_is_in_the_table_with_its_default():
    table = README.partition("## Configuration")[2].partition("## ")[0]
    rows = re.findall(r"^\| `([A-Z_`, ]+)` \| (.*?) \|", table, re.MULTILINE)
    defaults = {name: default for names, default in rows for name in names.split("`, `")}
    assert set(defaults) == set(SETTINGS) - {"GUNICORN_CMD_ARGS"}
    settings = Settings()
    assert defaults["PORT"] == defaults["HOST"] == f"`{settings.port}`, `{settings.host}`"
    assert defaults["DATA_DIR"] == f"`./{settings.data_dir}`"
    assert defaults["MAX_BODY_BYTES"] == f"`{settings.max_body_bytes}`"
    assert settings.web_concurrency is None
    assert defaults["WEB_CONCURRENCY"] == "`2`, or `1` on one processor"  # gunicorn_conf.py


def test_the_readme_is_one_page():
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    assert len(README.splitlines()) <= 130
    assert len(prose.split()) <= 800, "three minutes at 250 words a minute"


# --- every document -------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", TEXTS)
def test_every_link_leads_somewhere(document):
    links = re.findall(r"\]\(([^)\s]+)\)", TEXTS[document])
    for link in links:
        if re.match("https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / document).parent / path if path else ROOT / document
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text()), link


@pytest.mark.parametrize("document", TEXTS)
def test_every_setting_that_is_named_is_known(document):
    example = (ROOT / ".env.example").read_text()
    known = {*SETTINGS, *OTHERS_SETTINGS, *re.findall(r"^#([A-Z_]+)=", example, re.MULTILINE)}
    code = " ".join(re.findall(r"```.*?```|`[^`]*`", TEXTS[document], re.DOTALL))
    named = {*re.findall(r"\b([A-Z]+_[A-Z_]+)\b", code), *re.findall(r"\b([A-Z_]{2,})=", code)}
    assert named <= known
