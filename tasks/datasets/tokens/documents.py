"""Documents of continued pre-training: which paragraphs open one, and which close one."""

from __future__ import annotations

from collections.abc import Sequence

import datasets
import numpy

from tasks.datasets.split import Indices
from tasks.datasets.tokens.render import Documents


def documents_of(
    files: Sequence[tuple[str, int]], rows: datasets.Dataset, indices: Indices
) -> Documents:
    """Each file, as far as its paragraphs are among ``rows[indices]``, is one document.

    ``files``: name and number of rows of each, in order.
    """
    numbers = rows.data.column("row").to_numpy()[indices]
    file = numpy.searchsorted(numpy.cumsum([count for _, count in files]), numbers)
    parted = numpy.flatnonzero(numpy.diff(file))
    first, last = numbers[:1], numbers[-1:]
    return Documents(
        opening=frozenset(numpy.concatenate([first, numbers[parted + 1]]).tolist()),
        closing=frozenset(numpy.concatenate([numbers[parted], last]).tolist()),
    )
