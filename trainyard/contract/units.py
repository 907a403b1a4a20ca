"""Units of bytes, in one place for whoever writes a figure and whoever reads it.

``gb`` and ``mb`` in names, fields and settings, and GB and MB before people, are decimal; a binary
unit is said as one: KiB, MiB, GiB.
"""

from __future__ import annotations

MB = 10**6
GB = 10**9
KIB = 2**10
MIB = 2**20
GIB = 2**30
