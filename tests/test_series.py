"""Which backups are compared with each other, what counts as lost, and when it is made good."""

from datetime import UTC, datetime, timedelta

import pytest

from backup_server.series import NO_DEVICE, Backup, losses, names_of, successions

START = datetime(2026, 3, 1, tzinfo=UTC)
#: deviceId and device; NEW is the laptop after its site data was cleared.
NONE, PHONE, LAPTOP, NEW = (None, None), ("p", "Phone"), ("l", "Laptop"), ("n", "Laptop")


def history(*rows: tuple) -> list[Backup]:
    """Make backups an hour apart of rows (device, number of atoms)."""
    hours = [START + timedelta(hours=hour) for hour in range(len(rows))]
    return [
        Backup(f"{made:%Y-%m-%dT%H-%M-%S}", made, 1, {"atoms": atoms}, *device)
        for made, (device, atoms) in zip(hours, rows, strict=True)
    ]


# The backups' devices, and to each the place of the one it is compared with.
SUCCESSIONS = {
    "the one before it in its series": ([PHONE, LAPTOP, PHONE], [None, None, 0]),
    "those without a device are a series": ([NONE, PHONE, NONE], [None, 0, 0]),
    "a new series follows its device's name": ([NONE, LAPTOP, PHONE, NEW], [None, 0, 0, 1]),
    "a name is compared as it is": ([("a", "laptop"), LAPTOP], [None, None]),
    "a series without a name follows no name": ([("a", None), ("b", None)], [None, None]),
    "a name without a deviceId is followed, too": ([(None, "Phone"), NONE, PHONE], [None, 0, 0]),
    "a renamed device is one series": ([("a", "Old"), NEW, ("a", "Laptop")], [None, None, 0]),
}


@pytest.mark.parametrize(("devices", "places"), SUCCESSIONS.values(), ids=SUCCESSIONS.keys())
def test_a_backup_is_compared_with(devices, places):
    backups = history(*((device, 1) for device in devices))
    found = {after.id: backups.index(before) for before, after in successions(backups)}
    assert [found.get(backup.id) for backup in backups] == places


@pytest.mark.parametrize(
    ("had", "has", "is_loss"),
    [(1, 0, 1), (2, 1, 1), (3, 2, 0), (3, 1, 1), (10, 5, 1), (10, 6, 0), (0, 0, 0), (0, 3, 0)],
)
def test_half_or_more_is_a_loss_of_however_few(had, has, is_loss):
    found = losses(history((NONE, had), (NONE, has)))
    assert [str(loss) for loss in found] == [f"atoms fell from {had} to {has}"] * is_loss


# The history, and the places of the backups before a loss that was not made good.
STANDING = {
    "not made good": ([(LAPTOP, 41), (LAPTOP, 3), (LAPTOP, 4)], [0]),
    "devices take turns": ([(LAPTOP, 41), (PHONE, 3), (LAPTOP, 41), (PHONE, 3)], []),
    "made good": ([(LAPTOP, 41), (LAPTOP, 3), (LAPTOP, 21)], []),
    "half is not good": ([(LAPTOP, 41), (LAPTOP, 3), (LAPTOP, 20)], [0]),
    "made good, and lost again": ([(LAPTOP, 41), (LAPTOP, 3), (LAPTOP, 30), (LAPTOP, 3)], [2]),
    "another device makes nothing good": ([(LAPTOP, 41), (LAPTOP, 3), (PHONE, 41)], [0]),
    "cleared site data hide no loss": ([(LAPTOP, 41), (PHONE, 5), (NEW, 0)], [0]),
    "the series that follows makes it good": ([(LAPTOP, 41), (NEW, 0), (NEW, 41)], []),
    "or the series after that": ([(LAPTOP, 41), (LAPTOP, 2), (NEW, 2), (NEW, 41)], []),
    "or one of two that follow": ([(LAPTOP, 41), (LAPTOP, 2), (NEW, 41), (LAPTOP, 2)], []),
    "in two steps": ([(LAPTOP, 41), (LAPTOP, 20), (LAPTOP, 5)], [0, 1]),
    "half made good": ([(LAPTOP, 41), (LAPTOP, 20), (NEW, 5), (NEW, 20)], [0]),
    "each device's own": ([(LAPTOP, 9), (PHONE, 5), (LAPTOP, 0), (PHONE, 0)], [0, 1]),
}


@pytest.mark.parametrize(("rows", "places"), STANDING.values(), ids=STANDING.keys())
def test_a_loss_stands(rows, places):
    backups = history(*rows)
    found = [loss.before for loss in losses(backups) if not loss.is_made_good]
    assert found == [backups[place] for place in places]


NAMES = {
    "its newest": ([("a", "Old"), ("a", "New")], {"a": "New"}),
    "its newest that has one": ([PHONE, ("p", None)], {"p": "Phone"}),
    "none": ([("0123456789", None), NONE], {"0123456789": "01234567", None: NO_DEVICE}),
    "what stands for none": ([("a", NO_DEVICE), NONE], {"a": f"{NO_DEVICE} (a)", None: NO_DEVICE}),
    "no name without a deviceId": ([(None, "Phone"), PHONE], {"p": "Phone", None: NO_DEVICE}),
    "two alike": (
        [("a23456789", "Phone"), ("b23456789", "Phone"), LAPTOP],
        {"a23456789": "Phone (a2345678)", "b23456789": "Phone (b2345678)", "l": "Laptop"},
    ),
}


@pytest.mark.parametrize(("devices", "names"), NAMES.values(), ids=NAMES.keys())
def test_a_series_has_the_name_of(devices, names):
    assert names_of(history(*((device, 1) for device in devices))) == names
