"""Active hours: what the clock on the wall says, over midnight and where clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainyard.setting_parts.active_hours import ActiveHours
from trainyard.settings import SettingsError, read_settings

NIGHT, BERLIN = "22:00-08:00", "Europe/Berlin"


def at(text: str) -> float:
    """Of a moment in UTC."""
    return datetime.fromisoformat(f"{text}+00:00").timestamp()


@pytest.mark.parametrize(
    ("hours", "now", "until"),
    [
        ("08:00-22:00 UTC", "2026-11-30 08:00", ""),
        ("08:00-22:00 UTC", "2026-11-30 21:59:59", ""),
        ("08:00-22:00 UTC", "2026-11-30 22:00", "Tue 08:00 UTC"),
        ("08:00-22:00 UTC", "2026-11-30 07:59", "Mon 08:00 UTC"),
        # over midnight
        (f"{NIGHT} UTC", "2026-11-30 21:59", "Mon 22:00 UTC"),
        (f"{NIGHT} UTC", "2026-11-30 22:00", ""),
        (f"{NIGHT} UTC", "2026-11-30 00:00", ""),
        (f"{NIGHT} UTC", "2026-12-01 07:59", ""),
        (f"{NIGHT} UTC", "2026-12-01 08:00", "Tue 22:00 UTC"),
        ("20:00-24:00 UTC", "2026-11-30 23:59", ""),
        ("20:00-24:00 UTC", "2026-12-01 00:00", "Tue 20:00 UTC"),
        ("20:00-00:00 UTC", "2026-12-01 00:00", "Tue 20:00 UTC"),
        ("0:00-6:30 UTC", "2026-12-01 06:29", ""),
        # several
        ("00:00-06:00,12:00-13:00 UTC", "2026-11-30 12:30", ""),
        ("00:00-06:00,12:00-13:00 UTC", "2026-11-30 06:00", "Mon 12:00 UTC"),
        ("00:00-06:00,12:00-13:00 UTC", "2026-11-30 13:00", "Tue 00:00 UTC"),
        # another zone, and its other half of the year
        (f"{NIGHT} {BERLIN}", "2026-11-30 20:59", "Mon 22:00 CET"),
        (f"{NIGHT} {BERLIN}", "2026-11-30 21:00", ""),
        (f"{NIGHT} {BERLIN}", "2026-07-30 20:00", ""),
        (f"{NIGHT} {BERLIN}", "2026-07-30 19:59", "Thu 22:00 CEST"),
        (f"{NIGHT} Asia/Kathmandu", "2026-11-30 16:15", ""),
        # clocks go forward on 29 March at 02:00 CET, back on 25 October at 03:00 CEST
        (f"{NIGHT} {BERLIN}", "2026-03-29 05:59", ""),
        (f"{NIGHT} {BERLIN}", "2026-03-29 06:00", "Sun 22:00 CEST"),
        (f"{NIGHT} {BERLIN}", "2026-10-25 06:59", ""),
        (f"{NIGHT} {BERLIN}", "2026-10-25 07:00", "Sun 22:00 CET"),
        (f"02:30-08:00 {BERLIN}", "2026-03-29 00:59", "Sun 03:00 CEST"),
        (f"02:30-08:00 {BERLIN}", "2026-03-29 01:00", ""),
        (f"02:10-02:50 {BERLIN}", "2026-03-29 00:30", "Mon 02:10 CEST"),
        (f"01:00-02:30 {BERLIN}", "2026-03-29 01:00", "Mon 01:00 CEST"),
        (f"02:00-02:30 {BERLIN}", "2026-10-25 00:15", ""),
        (f"02:00-02:30 {BERLIN}", "2026-10-25 00:45", "Sun 02:00 CET"),
        (f"02:00-02:30 {BERLIN}", "2026-10-25 01:15", ""),
        (f"02:00-02:30 {BERLIN}", "2026-10-25 01:30", "Mon 02:00 CET"),
    ],
)
def test_when_it_is_closed_and_until_when(hours: str, now: str, until: str) -> None:
    found = ActiveHours.parse(hours)
    assert found.closed_until(at(now)) == until
    assert found.is_open(at(now)) == (not until)


@given(
    st.integers(0, 1439),
    st.integers(1, 1440),
    st.sampled_from(["UTC", BERLIN, "America/St_Johns", "Australia/Lord_Howe"]),
    st.integers(int(at("2026-01-01")), int(at("2027-12-31"))),
)
def test_it_opens_when_it_says_and_not_before(first: int, end: int, zone: str, now_s: int) -> None:
    if first == end % 1440:
        return
    text = f"{first // 60:02}:{first % 60:02}-{end // 60:02}:{end % 60:02} {zone}"
    hours = ActiveHours.parse(text)
    opens = hours.opens_at(now_s)
    if opens is None:
        assert hours.is_open(now_s)
        return
    assert now_s < opens.timestamp() <= now_s + timedelta(days=2).total_seconds()
    assert hours.is_open(opens.timestamp())
    assert not hours.is_open(opens.timestamp() - 1)


def test_the_machine_s_own_zone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = ActiveHours.parse(NIGHT)
    now = at("2026-11-30 12:00")
    wall = datetime.fromtimestamp(now, UTC).astimezone()
    assert hours.is_open(now) == (not 8 <= wall.hour < 22)
    assert str(hours).startswith(f"{NIGHT} local time (")
    assert str(ActiveHours.parse(f" {NIGHT}  {BERLIN} ")) == f"{NIGHT} {BERLIN}"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        *(
            (value, "should be times of day as in 22:00-08:00")
            for value in ("22-8", "22:00", "24:00-08:00", "22:00-08:60", "25:00-08:00", "always")
        ),
        ("22:00 - 08:00", "should be times of day as in 22:00-08:00"),
        ("22:00-22:00", "is the whole day: leave it unset"),
        ("00:00-24:00", "is the whole day: leave it unset"),
        ("22:00-08:00 Mars", "no time zone 'Mars' here: write one as Europe/Berlin"),
        ("22:00-08:00 ../../etc/passwd", "no time zone"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_right(value: str, words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings(active_hours=value)
    assert "ACTIVE_HOURS: " in str(refused.value)
    assert words in str(refused.value)
