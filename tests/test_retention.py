"""Which backups the rules keep, against a plain reading of them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_server.retention import decide
from backup_server.series import Backup, standing_losses

ZONES = [None, UTC, ZoneInfo("Europe/Zurich"), ZoneInfo("Pacific/Kiritimati")]
START = datetime(2023, 12, 1, tzinfo=UTC)
DEVICES = [None, "phone", "laptop"]
COUNT = st.integers(0, 6)


def backup(made: datetime, device: str | None = None, bad: bool = False, **counts: int) -> Backup:
    name, damage = f"{made:%Y-%m-%dT%H-%M-%S}", "It is damaged." if bad else None
    return Backup(name, made, 1, counts or {"atoms": 9}, device, damage=damage)


def daily(days: range, device: str | None = None, **counts: int) -> list[Backup]:
    return [backup(START + timedelta(days=day), device, **counts) for day in days]


def kept(backups, rules, zone=UTC, ended=()) -> dict[str, list[str]]:
    return {v.backup.id: v.reasons for v in decide(backups, rules, zone, ended) if v.reasons}


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


@given(times, st.lists(st.sampled_from(DEVICES), min_size=40), rules, st.sampled_from(ZONES))
def test_each_rule_keeps_the_newest_of_each_of_its_last_periods_for_each_device(
    made, devices, rules, zone
):
    pairs = list(zip(made, devices, strict=False))
    verdicts = decide([backup(*pair) for pair in pairs], rules, zone)
    assert [verdict.backup.made for verdict in verdicts] == made[::-1]
    expected = set()
    for device in DEVICES:
        expected |= keeps_plainly([moment for moment, one in pairs if one == device], rules, zone)
    assert {verdict.backup.made for verdict in verdicts if verdict.reasons} == expected


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from(DEVICES), COUNT, COUNT), max_size=25), rules
)
def test_what_must_never_be_deleted_never_is(contents, rules):
    backups = [
        backup(START + timedelta(hours=number), device, bad, atoms=atoms, snapshots=snapshots)
        for number, (bad, device, atoms, snapshots) in enumerate(contents)
    ]
    reasons = kept(backups, rules)
    readable = [one for one in backups if not one.damage]
    assert {one.id for one in backups if one.damage} <= reasons.keys()
    for device in DEVICES:
        series = [one for one in readable if one.device_id == device]
        assert {one.id for one in series[-1:]} <= reasons.keys()
        for number, one in enumerate(series[:-1]):
            after = series[number + 1].counts
            if any(had and after[name] <= had / 2 for name, had in one.counts.items()):
                assert one.id in reasons
    # And damaged ones take no good one's place.
    without = kept(readable, rules)
    assert {one.id: reasons.get(one.id) for one in readable if one.id in reasons} == without


def test_the_reasons_are_the_rules_that_keep_it():
    reasons = kept(daily(range(40)), {"last": 1, "daily": 2, "monthly": 2, "yearly": 3})
    assert reasons == {
        "2024-01-09T00-00-00": ["newest", "last", "daily", "monthly", "yearly"],
        "2024-01-08T00-00-00": ["daily"],
        "2023-12-31T00-00-00": ["monthly", "yearly"],
        "2023-12-01T00-00-00": ["oldest"],
    }


def test_of_an_ended_series_is_kept_what_another_one_lost():
    """Site data were cleared, and the device's old series was taken for rubbish."""
    *old, new = (
        one._replace(device="Laptop")
        for one in daily(range(3), "old", atoms=41) + daily(range(4, 5), "new", atoms=0)
    )
    reasons = kept([*old, new], {"last": 1}, ended={"old"})
    lost = "atoms fell from 41 to 0"
    assert reasons == {old[2].id: [f"before {lost}"], new.id: ["newest", "last", f"after {lost}"]}


def test_a_device_that_has_less_than_another_is_no_new_loss_after_every_prune():
    """The first of a series is compared with an earlier series, so it stays the first."""
    before = backup(START, atoms=41)
    phone = daily(range(1, 30), "phone", atoms=3)
    reasons = kept([before, *phone], {"last": 1})
    assert reasons.keys() == {before.id, phone[0].id, phone[-1].id}
    left = [one for one in (before, *phone) if one.id in reasons]
    assert standing_losses(left, since=START + timedelta(days=20)) == []


def test_one_day_met_twice_is_one_day():
    """A clock that was set back must not make three days of two."""
    made = [START, START + timedelta(days=1), START, START + timedelta(days=2)]
    backups = [backup(moment)._replace(id=str(number)) for number, moment in enumerate(made)]
    assert kept(backups, {"daily": 2}).keys() == {"3", "2"}


@pytest.mark.parametrize(
    ("made", "zone"),
    [
        (None, UTC),
        (datetime(9999, 12, 31, 23, tzinfo=UTC), ZoneInfo("Asia/Tokyo")),
        (datetime(1, 1, 1, tzinfo=UTC), ZoneInfo("America/New_York")),
    ],
)
def test_one_of_unknown_time_is_kept_and_fills_no_rule(made, zone):
    unknown = backup(START)._replace(id="0", made=made)
    reasons = kept([unknown, *daily(range(1, 4))], {"daily": 2}, zone)
    assert reasons["0"] == ["of unknown time"]
    assert len(reasons) == 3
