"""Which backups are compared with each other, what counts as lost, and when it is made good."""

from datetime import UTC, datetime, timedelta

import pytest

from backup_server.series import (
    NO_DEVICE,
    Backup,
    losses,
    lost_half,
    names_of,
    predecessors,
    series_of,
    standing_losses,
)

START = datetime(2026, 3, 1, tzinfo=UTC)


def history(*rows: tuple) -> list[Backup]:
    """Make backups an hour apart of rows (deviceId, device, atoms); atoms of None is a damage."""
    return [
        Backup(
            id=f"2026-03-01T{hour:02}-00-00",
            made=START + timedelta(hours=hour),
            size=1,
            counts={} if atoms is None else {"atoms": atoms},
            device_id=device_id,
            device=device,
            damage="It is damaged." if atoms is None else None,
        )
        for hour, (device_id, device, atoms) in enumerate(rows)
    ]


PHONE, LAPTOP, NONE = ("p", "Phone"), ("l", "Laptop"), (None, None)
PREDECESSORS = {
    "the one before it in its series": ([(*PHONE, 1), (*LAPTOP, 1), (*PHONE, 1)], {1: None, 2: 0}),
    "those without a device are a series": ([(*NONE, 1), (*PHONE, 1), (*NONE, 1)], {2: 0}),
    "a damaged one is passed over": ([(*NONE, 1), (*NONE, None), (*NONE, 1)], {2: 0}),
    "a new series follows its device's name": (
        [(*NONE, 1), ("a", "Laptop", 1), (*PHONE, 1), ("b", "Laptop", 1)],
        {3: 1},
    ),
    "or else those without a device": ([(*NONE, 1), (*LAPTOP, 1), (*PHONE, 1)], {1: 0, 2: 0}),
    "a name is compared as it is": ([("a", "laptop", 1), (*LAPTOP, 1)], {1: None}),
    "a series without a name follows no name": ([("a", None, 1), ("b", None, 1)], {1: None}),
    "a name without a deviceId is followed, too": ([(None, "Phone", 1), (*PHONE, 1)], {1: 0}),
    "a renamed device is one series": ([("a", "Old", 1), ("b", "New", 1), ("a", "New", 1)], {2: 0}),
}


@pytest.mark.parametrize(("rows", "expected"), PREDECESSORS.values(), ids=PREDECESSORS.keys())
def test_a_backup_is_compared_with(rows, expected):
    backups = history(*rows)
    found = predecessors(backups)
    for after, before in expected.items():
        assert found.get(backups[after].id) == (None if before is None else backups[before])
    assert backups[0].id not in found


@pytest.mark.parametrize(
    ("had", "has", "is_loss"),
    [(1, 0, 1), (2, 1, 1), (3, 2, 0), (3, 1, 1), (10, 5, 1), (10, 6, 0), (0, 0, 0), (0, 3, 0)],
)
def test_half_or_more_is_a_loss_of_however_few(had, has, is_loss):
    assert lost_half(had, has) == bool(is_loss)


def test_a_category_that_is_not_there_any_more_is_lost():
    before, after = history((*NONE, 1), (*NONE, 1))
    gone = losses([before, after._replace(counts={"snapshots": 1})])
    assert [str(loss) for loss in gone] == ["atoms fell from 1 to 0"]


NEW = ("n", "Laptop")  # the laptop after its site data was cleared
STANDING = {
    "not made good": ([(*LAPTOP, 41), (*LAPTOP, None), (*LAPTOP, 3)], [(0, 41)]),
    "devices take turns": ([(*LAPTOP, 41), (*PHONE, 3), (*LAPTOP, 41), (*PHONE, 3)], []),
    "made good": ([(*LAPTOP, 41), (*LAPTOP, 3), (*LAPTOP, 21)], []),
    "half is not good": ([(*LAPTOP, 41), (*LAPTOP, 3), (*LAPTOP, 20)], [(0, 41)]),
    "another device makes nothing good": ([(*LAPTOP, 41), (*LAPTOP, 3), (*PHONE, 41)], [(0, 41)]),
    "cleared site data hide no loss": ([(*LAPTOP, 41), (*PHONE, 5), (*NEW, 0)], [(0, 41)]),
    "the series that follows makes it good": ([(*LAPTOP, 41), (*NEW, 0), (*NEW, 41)], []),
    "or the series after that": ([(*LAPTOP, 41), (*LAPTOP, 2), (*NEW, 2), (*NEW, 41)], []),
    "in two steps": ([(*LAPTOP, 41), (*LAPTOP, 20), (*LAPTOP, 5)], [(0, 41), (1, 20)]),
    "half made good": ([(*LAPTOP, 41), (*LAPTOP, 20), (*NEW, 5), (*NEW, 20)], [(0, 41)]),
    "each device's own": ([(*LAPTOP, 9), (*PHONE, 5), (*LAPTOP, 0), (*PHONE, 0)], [(0, 9), (1, 5)]),
}


@pytest.mark.parametrize(("rows", "expected"), STANDING.values(), ids=STANDING.keys())
def test_a_loss_stands(rows, expected):
    backups = history(*rows)
    found = [(loss.before, loss.had) for loss in standing_losses(backups, START)]
    assert found == [(backups[number], had) for number, had in expected]


def test_an_old_loss_is_not_reported_and_one_of_unknown_time_is():
    before, after = history((*NONE, 41), (*NONE, 3))
    assert len(standing_losses([before, after], after.made)) == 1
    assert standing_losses([before, after], after.made + timedelta(seconds=1)) == []
    assert len(standing_losses([before, after._replace(made=None)], START)) == 1


NAMES = {
    "its newest": ([("a", "Old", 1), ("a", "New", 1)], {"a": "New"}),
    "its newest that has one": ([("a", "Phone", 1), ("a", None, 1)], {"a": "Phone"}),
    "none": ([("0123456789", None, 1), (*NONE, 1)], {"0123456789": "01234567", None: NO_DEVICE}),
    "no name without a deviceId": ([(None, "Phone", 1), (*PHONE, 1)], {"p": "Phone"}),
    "two alike": (
        [("a23456789", "Phone", 1), ("b23456789", "Phone", 1), (*LAPTOP, 1)],
        {"a23456789": "Phone (a2345678)", "b23456789": "Phone (b2345678)", "l": "Laptop"},
    ),
}


@pytest.mark.parametrize(("rows", "expected"), NAMES.values(), ids=NAMES.keys())
def test_a_series_has_the_name_of(rows, expected):
    assert names_of(series_of(history(*rows))).items() >= expected.items()


def test_series_come_newest_first_without_what_is_damaged():
    first, phone, damaged, last = history((*LAPTOP, 1), (*PHONE, 1), (*NONE, None), (*LAPTOP, 1))
    found = series_of([first, phone, damaged, last])
    assert list(found.items()) == [("l", [first, last]), ("p", [phone])]
