"""Table of a month's usage on the command line, against a bridge that says what the test wants."""

from __future__ import annotations

import json
from typing import Any

from tests.support.command_line import trainyard
from tests.support.fake_bridge import FakeBridge

UNMETERED = {
    "slot_hours": 2.0,
    "gpu_hours": 0.0,
    "metered_hours": 0.0,
    "energy_kwh": None,
    "cost": None,
    "currency": None,
}
METERED = {
    "slot_hours": 1000.5,
    "gpu_hours": 2001.0,
    "metered_hours": 1000.5,
    "energy_kwh": 1400.25,
    "cost": 5301.5,
    "currency": "EUR",
}


def an_answer(**changed: Any) -> dict[str, Any]:
    nothing = UNMETERED | {"slot_hours": 0.0}
    rows = [
        {"name": "mia", "attempts": 3, "usage": METERED},
        {"name": "-\x1b[31m", "attempts": 1, "usage": UNMETERED},
    ]
    total = METERED | {"slot_hours": 1002.5}
    whole = {"month": "2026-11", "by": "user", "rows": rows, "attempts": 4}
    return whole | {"total": total, "running": nothing} | changed


def test_a_row_each_and_the_sum_below(bridge: FakeBridge) -> None:
    bridge.answers["GET", "/usage"] = 200, an_answer()
    done = trainyard("usage", "--by", "user", "--month", "2026-11")
    assert done.exit_code == 0
    assert bridge.calls[-1].path == "/usage?month=2026-11&by=user"
    head, mia, nobody, total, note = done.stdout.splitlines()
    assert head.split() == ["user", "attempts", "slot", "hours", "GPU", "hours", "kWh", "cost"]
    assert mia.split() == ["mia", "3", "1,000.50", "2,001.00", "1,400.250", "5,301.50", "EUR"]
    assert nobody.split()[1:] == ["1", "2.00", "0.00", "–", "–"]
    assert total.split()[:3] == ["2026-11", "4", "1,002.50"]
    assert note == "Energy is known of 1,000.50 of the 1,002.50 slot hours."
    assert "\x1b" not in done.stdout


def test_this_month_of_all_and_what_runs(bridge: FakeBridge) -> None:
    answer = an_answer(by=None, rows=[], total=METERED, running=UNMETERED)
    bridge.answers["GET", "/usage"] = 200, answer
    done = trainyard("usage")
    assert bridge.calls[-1].path == "/usage"
    assert done.stdout.splitlines()[2:] == [
        "Not yet counted: 2.00 slot hours of attempts that run."
    ]
    assert json.loads(trainyard("usage", "--json").stdout) == answer
