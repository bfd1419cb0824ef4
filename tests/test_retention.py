"""Which backups the rules keep, against a plain reading of them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_server.retention import bytes_a_day, decide
from backup_server.series import Backup, standing_losses

ZONES = [None, UTC, ZoneInfo("Europe/Zurich"), ZoneInfo("Pacific/Kiritimati")]
START = datetime(2023, 12, 1, tzinfo=UTC)
DEVICES = [None, "phone", "laptop"]


def backup(
    made: datetime, damage: str | None = None, device_id: str | None = None, **counts: int
) -> Backup:
    name = f"{made:%Y-%m-%dT%H-%M-%S}"
    return Backup(name, made, 1, counts or {"atoms": 9}, device_id, damage=damage)


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
    verdicts = decide([backup(moment, device_id=device) for moment, device in pairs], rules, zone)
    assert [verdict.backup.made for verdict in verdicts] == made[::-1]
    expected = set()
    for device in DEVICES:
        expected |= keeps_plainly([moment for moment, one in pairs if one == device], rules, zone)
    assert {verdict.backup.made for verdict in verdicts if verdict.reasons} == expected


@given(
    st.lists(
        st.tuples(
            st.sampled_from([None, "It is damaged."]),
            st.sampled_from(DEVICES),
            st.integers(0, 6),
            st.integers(0, 6),
        ),
        max_size=25,
    ),
    rules,
)
def test_what_must_never_be_deleted_never_is(contents, rules):
    backups = [
        backup(START + timedelta(hours=number), damage, device, atoms=atoms, snapshots=snapshots)
        for number, (damage, device, atoms, snapshots) in enumerate(contents)
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
    days = [backup(START + timedelta(days=day)) for day in range(40)]
    reasons = kept(days, {"last": 1, "daily": 2, "monthly": 2, "yearly": 3})
    assert reasons == {
        "2024-01-09T00-00-00": ["newest", "last", "daily", "monthly", "yearly"],
        "2024-01-08T00-00-00": ["daily"],
        "2023-12-31T00-00-00": ["monthly", "yearly"],
        "2023-12-01T00-00-00": ["oldest"],
    }


def test_a_device_that_was_last_used_long_ago_keeps_its_only_backup():
    laptop = backup(START, device_id="laptop")
    phone = [backup(START + timedelta(days=day), device_id="phone") for day in range(1, 30)]
    assert laptop.id in kept([laptop, *phone], {"last": 5, "daily": 14})


def test_a_series_that_is_ended_goes_whole_and_the_others_stay():
    phone = [backup(START + timedelta(days=day), device_id="phone") for day in range(5)]
    laptop = [backup(START + timedelta(days=day), device_id="laptop") for day in range(5, 10)]
    undated = backup(START + timedelta(days=11), device_id="phone")._replace(made=None)
    backups = [*phone, *laptop, undated]
    assert kept(backups, {"last": 1}, ended={"phone"}) == {laptop[4].id: ["newest", "last"]}
    assert kept(backups, {}, ended={"phone"}).keys() == {one.id for one in laptop}
    assert kept([*backups, backup(START + timedelta(days=12))], {}, ended={None}).keys() == {
        one.id for one in backups
    }


def test_of_an_ended_series_is_kept_what_another_one_lost():
    """Site data were cleared, and the device's old series was taken for rubbish."""
    old = [
        backup(START + timedelta(days=day), None, "old", atoms=atoms)._replace(device="Laptop")
        for day, atoms in enumerate([90, 41, 41])
    ]
    new = backup(START + timedelta(days=4), None, "new", atoms=0)._replace(device="Laptop")
    reasons = kept([*old, new], {"last": 1}, ended={"old"})
    lost = "atoms fell from 41 to 0"
    assert reasons == {
        old[2].id: [f"before {lost}"],
        new.id: ["newest", "last", f"after {lost}"],
    }


def test_a_device_that_has_less_than_another_is_no_new_loss_after_every_prune():
    """The first of a series is compared with an earlier series, so it stays the first."""
    before = backup(START, atoms=41)
    phone = [backup(START + timedelta(days=day), None, "phone", atoms=3) for day in range(1, 30)]
    reasons = kept([before, *phone], {"last": 1})
    assert reasons.keys() == {before.id, phone[0].id, phone[-1].id}
    left = [one for one in (before, *phone) if one.id in reasons]
    assert standing_losses(left, since=START + timedelta(days=20)) == []


def test_a_day_begins_where_the_owner_lives():
    evening, night = (
        backup(datetime(2026, 7, 1, hour, 30, tzinfo=UTC)) for hour in (21, 22)
    )  # 23:30 and 0:30 in Zurich
    backups = [evening, night, backup(datetime(2026, 7, 2, 10, tzinfo=UTC))]
    assert evening.id in kept(backups, {"daily": 2}, ZoneInfo("Europe/Zurich"))
    assert evening.id not in kept(backups, {"daily": 2}, UTC)


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
        (datetime(9999, 12, 31, 23, tzinfo=UTC), ZoneInfo("Pacific/Kiritimati")),
        (datetime(1, 1, 1, tzinfo=UTC), ZoneInfo("America/New_York")),
    ],
)
def test_one_of_unknown_time_is_kept_and_fills_no_rule(made, zone):
    unknown = backup(START)._replace(id="0", made=made)
    later = [backup(START + timedelta(days=day)) for day in (1, 2, 3)]
    reasons = kept([unknown, *later], {"daily": 2}, zone)
    assert reasons["0"] == ["of unknown time"]
    assert len(reasons) == 3


@pytest.mark.parametrize(
    ("ages", "expected"),
    [
        ([0], 100),
        ([1, 2, 3], 300),
        ([8, 4, 0], 7 * 300 / 8),
        ([29, 1], 7 * 200 / 29),
        ([400, 29, 1], 7 * 200 / 30),
        ([400], 0),
        ([], 0),
        ([None, -1, 1], 100),
    ],
)
def test_the_present_rate_is_that_of_the_last_month_or_since_the_first(ages, expected):
    """Each backup has 700 bytes; a backup of unknown time, or of tomorrow, counts for nothing."""
    now = START + timedelta(days=500)
    backups = [
        backup(START)._replace(made=None if age is None else now - timedelta(days=age), size=700)
        for age in ages
    ]
    assert bytes_a_day(backups, now) == pytest.approx(expected)
