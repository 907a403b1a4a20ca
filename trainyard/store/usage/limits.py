"""Limits of the monthly sums, so that what stays for years stays small."""

from __future__ import annotations

NAMES_MAX = 1000
"""Of users, models or slots in one sum: those that come later are counted together."""
OTHERS = "(others)"
MONTHS_KEPT = 36
