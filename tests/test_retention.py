"""Which backups the rules keep: against a plain reading of them, and against restic itself."""

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import require_tool

from backup_server.retention import Backup, decide, losses, lost_half

ZONES = [None, UTC, ZoneInfo("Europe/Zurich"), ZoneInfo("Pacific/Kiritimati")]
START = datetime(2023, 12, 1, tzinfo=UTC)


def backup(made: datetime, damage: str | None = None, **counts: int) -> Backup:
    return Backup(f"{made:%Y-%m-%dT%H-%M-%S}", made, 1, counts or {"atoms": 9}, damage)


def kept(backups, rules, zone=UTC) -> dict[str, list[str]]:
    return {v.backup.id: v.reasons for v in decide(backups, rules, zone) if v.reasons}


times = st.lists(
    st.integers(0, 3 * 365 * 24 * 60).map(lambda minutes: START + timedelta(minutes=minutes)),
    unique=True,
    max_size=40,
).map(sorted)
rules = st.dictionaries(
    st.sampled_from(["last", "daily", "weekly", "monthly", "yearly"]),
    st.integers(1, 12),
    min_size=1,
)


def keeps_plainly(made: list[datetime], rules: dict[str, int], zone) -> set[datetime]:
    """Read the manual's sentence literally: sort into periods, take the last N, take the newest."""
    formats = {"daily": "%Y-%m-%d", "weekly": "%G-W%V", "monthly": "%Y-%m", "yearly": "%Y"}
    result = set(made[-1:])
    for rule, number in rules.items():
        if rule == "last":
            result.update(made[-number:])
            continue
        by_period = {}
        for moment in made:
            by_period[moment.astimezone(zone).strftime(formats[rule])] = moment
        result.update(sorted(by_period.values())[-number:])
        if len(by_period) < number:
            result.update(made[:1])
    return result


@given(times, rules, st.sampled_from(ZONES))
def test_each_rule_keeps_the_newest_of_each_of_its_last_periods(made, rules, zone):
    verdicts = decide([backup(moment) for moment in made], rules, zone)
    assert [verdict.backup.made for verdict in verdicts] == made[::-1]
    expected = keeps_plainly(made, rules, zone)
    assert {verdict.backup.made for verdict in verdicts if verdict.reasons} == expected


@given(
    st.lists(
        st.tuples(st.sampled_from([None, "It is damaged."]), st.integers(0, 6), st.integers(0, 6)),
        max_size=25,
    ),
    rules,
)
def test_what_must_never_be_deleted_never_is(contents, rules):
    backups = [
        backup(START + timedelta(hours=number), damage, atoms=atoms, snapshots=snapshots)
        for number, (damage, atoms, snapshots) in enumerate(contents)
    ]
    reasons = kept(backups, rules)
    readable = [one for one in backups if not one.damage]
    assert {one.id for one in backups if one.damage} <= reasons.keys()
    assert {one.id for one in readable[-1:]} <= reasons.keys()
    for number, one in enumerate(readable[:-1]):
        after = readable[number + 1].counts
        if any(had and after[name] <= had / 2 for name, had in one.counts.items()):
            assert one.id in reasons
    # And damaged ones take no good one's place.
    without = kept(readable, rules)
    assert {one.id: reasons.get(one.id) for one in readable if one.id in reasons} == without


def test_restic_keeps_the_same(tmp_path):
    restic = require_tool("restic")
    zone = ZoneInfo("Europe/Zurich")
    # Around midnight, a month's, a year's and an ISO week's end, and summer time's beginning.
    texts = """2023-12-31T22:30 2023-12-31T23:30 2024-01-01T00:30 2024-03-30T22:59 2024-03-30T23:01
        2024-03-31T21:59 2024-03-31T22:01 2024-12-29T12:00 2024-12-30T12:00 2025-01-01T12:00"""
    made = [datetime.fromisoformat(f"{text}+00:00") for text in texts.split()]
    (tmp_path / "file").write_text("x")
    environ = os.environ | {
        "RESTIC_REPOSITORY": str(tmp_path / "repository"),
        "RESTIC_PASSWORD": "x",
        "RESTIC_CACHE_DIR": str(tmp_path / "cache"),
        "TZ": zone.key,
    }

    def run(*arguments: str) -> str:
        return subprocess.run(
            [restic, *arguments], env=environ, check=True, capture_output=True, text=True
        ).stdout

    run("init")
    for moment in made:
        local = moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")
        run("backup", "--host", "h", "--time", local, str(tmp_path / "file"))
    for rules in (
        {"last": 3},
        {"daily": 4},
        {"weekly": 3},
        {"monthly": 2},
        {"yearly": 2},
        {"last": 1, "daily": 2, "weekly": 3, "monthly": 4, "yearly": 5},
        {"daily": 100},
    ):
        flags = [f"--keep-{rule}={number}" for rule, number in rules.items()]
        (group,) = json.loads(run("forget", "--dry-run", "--json", *flags))
        restics = {datetime.fromisoformat(one["time"]).astimezone(UTC) for one in group["keep"]}
        ours = {
            verdict.backup.made
            for verdict in decide([backup(moment) for moment in made], rules, zone)
            if verdict.reasons
        }
        assert ours == restics, rules


def test_the_reasons_are_the_rules_that_keep_it():
    days = [backup(START + timedelta(days=day)) for day in range(40)]
    reasons = kept(days, {"last": 1, "daily": 2, "monthly": 2, "yearly": 3})
    assert reasons == {
        "2024-01-09T00-00-00": ["newest", "last", "daily", "monthly", "yearly"],
        "2024-01-08T00-00-00": ["daily"],
        "2023-12-31T00-00-00": ["monthly", "yearly"],
        "2023-12-01T00-00-00": ["oldest"],
    }


def test_a_day_begins_where_the_owner_lives():
    evening, night = (
        backup(datetime(2026, 7, 1, hour, 30, tzinfo=UTC)) for hour in (21, 22)
    )  # 23:30 and 0:30 in Zurich
    later = backup(datetime(2026, 7, 2, 10, tzinfo=UTC))
    backups = [evening, night, later]
    assert evening.id in kept(backups, {"daily": 2}, ZoneInfo("Europe/Zurich"))
    assert evening.id not in kept(backups, {"daily": 2}, UTC)


def test_one_day_met_twice_is_one_day():
    """A clock that was set back must not make three days of two."""
    made = [START, START + timedelta(days=1), START, START + timedelta(days=2)]
    backups = [backup(moment)._replace(id=str(number)) for number, moment in enumerate(made)]
    assert kept(backups, {"daily": 2}).keys() == {"3", "2"}


def test_one_whose_time_is_not_known_is_kept_and_fills_no_rule():
    lost = backup(START)._replace(id="0", made=None)
    later = [backup(START + timedelta(days=day)) for day in (1, 2, 3)]
    reasons = kept([lost, *later], {"daily": 2})
    assert reasons["0"] == ["of unknown time"]
    assert len(reasons) == 3


@pytest.mark.parametrize(
    ("had", "has", "is_loss"),
    [(1, 0, 1), (2, 1, 1), (3, 2, 0), (3, 1, 1), (10, 5, 1), (10, 6, 0), (0, 0, 0), (0, 3, 0)],
)
def test_half_or_more_is_a_loss_of_however_few(had, has, is_loss):
    assert lost_half(had, has) == bool(is_loss)


def test_a_loss_is_told_from_one_readable_backup_to_the_next():
    full, damaged, empty, empty_still = (
        backup(START + timedelta(hours=hour), damage, atoms=atoms, snapshots=3)
        for hour, (damage, atoms) in enumerate([(None, 41), ("x", 0), (None, 3), (None, 3)])
    )
    (loss,) = losses([full, damaged, empty, empty_still])
    assert (loss.category, loss.had, loss.has) == ("atoms", 41, 3)
    assert (loss.before, loss.after) == (full, empty)
    assert str(loss) == "atoms fell from 41 to 3"


def test_a_category_that_is_not_there_any_more_is_a_loss_of_all():
    assert [str(loss) for loss in losses([backup(START, atoms=1), backup(START, snapshots=1)])] == [
        "atoms fell from 1 to 0"
    ]
