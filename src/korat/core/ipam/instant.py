"""Points in time as numbers and as the text that Calico stores, ``2026-01-02T03:04:05Z``.

The core has no clock; a ``Moment`` is what a caller says of now. Source: RFC 3339, and the
conversion of civil dates by counting days from 1 March, so that a leap day is a year's last.
"""

import re
from typing import NamedTuple

NANOSECONDS = 10**9
_DAY_S = 86_400
#: Days from 1 March of year 0 to the epoch.
_EPOCH_DAYS = 719_468
_TEXT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:[Zz]|([+-])(\d\d):(\d\d))"
)


class Moment(NamedTuple):
    """When an operation runs, and the dice it is given.

    Units: ``now_ns`` is nanoseconds since the epoch, ``dice`` any number that differs each time.
    """

    now_ns: int
    dice: int = 0

    @property
    def now_s(self) -> int:
        """Whole seconds since the epoch."""
        return self.now_ns // NANOSECONDS

    @property
    def text(self) -> str:
        """Now, as it is stored."""
        return text_of(self.now_s)


def text_of(seconds: int) -> str:
    """Seconds since the epoch as they are stored."""
    days, rest = divmod(seconds, _DAY_S)
    year, month, day = _civil(days)
    hour, rest = divmod(rest, 3600)
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{rest // 60:02}:{rest % 60:02}Z"


def seconds_of(text: str | None) -> int | None:
    """Stored text as seconds since the epoch; None when it is missing or says no time."""
    found = _TEXT.fullmatch(text or "")
    if found is None:
        return None
    year, month, day, hour, minute, second = map(int, found.group(1, 2, 3, 4, 5, 6))
    days = _days(year, month, day)
    offset_s = 0
    if found.group(7):
        offset_s = int(found.group(8)) * 3600 + int(found.group(9)) * 60
        offset_s = -offset_s if found.group(7) == "-" else offset_s
    return days * _DAY_S + hour * 3600 + minute * 60 + second - offset_s


def _days(year: int, month: int, day: int) -> int:
    """Days since the epoch of a date of the Gregorian calendar."""
    if month <= 2:  # noqa: PLR2004 - January and February are the last months of the year before
        year, month = year - 1, month + 12
    of_year = (153 * (month - 3) + 2) // 5 + day - 1
    return 365 * year + year // 4 - year // 100 + year // 400 + of_year - _EPOCH_DAYS


def _civil(days: int) -> tuple[int, int, int]:
    """The inverse of ``_days``."""
    era, of_era = divmod(days + _EPOCH_DAYS, 146_097)
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    day = of_year - (153 * month + 2) // 5 + 1
    year += era * 400
    return (year, month + 3, day) if month < 10 else (year + 1, month - 9, day)  # noqa: PLR2004 - counted from March
