"""Which backups the rules keep, against a plain reading of them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from commands import time_zone
from hypothesis import given
from hypothesis import strategies as st

from backup_server.retention import RULES, decide
from backup_server.series import Backup, losses

ZONES = ["UTC", "Europe/Zurich", "Pacific/Kiritimati"]
START = datetime(2024, 12, 1, tzinfo=UTC)
DEVICES = [None, "phone", "laptop"]
PERIODS = {
    "daily": lambda local: local.date(),
    "weekly": lambda local: local.isocalendar()[:2],
    "monthly": lambda local: (local.year, local.month),
    "yearly": lambda local: local.year,
}

times = st.lists(
    (st.integers(0, 60 * 24 * 60) | st.integers(0, 1100 * 24 * 60)).map(
        lambda minutes: START + timedelta(minutes=minutes)
    ),
    unique=True,
    max_size=40,
).map(sorted)
rules = st.dictionaries(st.sampled_from(list(RULES)), st.integers(1, 12), min_size=1)


def backup(made: datetime, device: str | None = None, **counts: int) -> Backup:
    return Backup(f"{made:%Y-%m-%dT%H-%M-%S}", made, 1, counts or {"atoms": 9}, device)


def daily(days: range, device: str | None = None, **counts: int) -> list[Backup]:
    return [backup(START + timedelta(days=day), device, **counts) for day in days]


def kept(backups, rules, ended=(), zone="UTC") -> dict[str, list[str]]:
    with time_zone(zone):
        return {one: why for one, why in decide(backups, rules, ended).items() if why}


def keeps_plainly(made: list[datetime], rules: dict[str, int], zone) -> set[datetime]:
    """Read the manual's sentence literally: sort into periods, take the last N, take the newest."""
    result = set(made[-1:])
    for rule, number in rules.items():
        period = PERIODS.get(rule, lambda local: local)
        newest = {period(moment.astimezone(zone)): moment for moment in made}
        result.update(sorted(newest.values())[-number:])
        if len(newest) < number:
            result.update(made[:1])
    return result


@given(times, st.lists(st.sampled_from(DEVICES), min_size=40), rules, st.sampled_from(ZONES))
def test_each_rule_keeps_the_newest_of_each_of_its_last_periods_for_each_device(
    made, devices, rules, zone
):
    backups = [backup(*pair) for pair in zip(made, devices, strict=False)]
    expected = set()
    for device in DEVICES:
        series = [one.made for one in backups if one.device_id == device]
        expected |= keeps_plainly(series, rules, ZoneInfo(zone))
    reasons = kept(backups, rules, zone=zone)
    assert {one.made for one in backups if one.id in reasons} == expected


def test_of_an_ended_series_is_kept_what_another_one_lost():
    """Site data were cleared, and the device's old series was taken for rubbish."""
    *old, new = daily(range(3), "old", atoms=41) + daily(range(4, 5), "new", atoms=0)
    for one in (*old, new):
        one.device = "Laptop"
    old[0].counts = {"atoms": 99}
    lost = "atoms fell from 41 to 0"
    expected = {old[2].id: [f"before {lost}"], new.id: ["newest", "last", f"after {lost}"]}
    assert kept([*old, new], {"last": 1}, ended={"old"}) == expected


def test_a_device_that_has_less_than_another_is_no_new_loss_after_every_prune():
    """The first of a series is compared with an earlier series, so it stays the first."""
    backups = [backup(START, atoms=41), *daily(range(1, 30), "phone", atoms=3)]
    reasons = kept(backups, {"last": 1})
    assert reasons.keys() == {backups[0].id, backups[1].id, backups[-1].id}
    (loss,) = losses([one for one in backups if one.id in reasons])
    assert loss.after == backups[1]


def test_one_day_met_twice_is_one_day():
    """A clock that was set back must not make three days of two."""
    backups = [backup(START + timedelta(days=day)) for day in (0, 1, 0, 2)]
    for number, one in enumerate(backups):
        one.id = str(number)
    assert kept(backups, {"daily": 2}).keys() == {"3", "2"}


def test_one_of_unknown_time_is_kept_and_fills_no_rule():
    backups = daily(range(4))
    backups[0].made = None
    reasons = kept(backups, {"daily": 2})
    assert (len(reasons), reasons[backups[0].id]) == (3, ["of unknown time"])
