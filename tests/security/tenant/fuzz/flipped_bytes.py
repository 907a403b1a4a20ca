"""Files with flipped bytes, read one after another: ``python flipped_bytes.py FOLDER COUNT SEED``.

Prints how many were read and how many were refused; a crash or any other error ends it.
"""

from __future__ import annotations

import io
import random
import shutil
import sys
from collections import Counter
from pathlib import Path

import pyarrow
import pyarrow.parquet

from tasks.datasets.parts import open_parts
from tasks.errors import DatasetError


def samples() -> dict[str, bytes]:
    """One file of each kind, with nested, dictionary-encoded and missing values."""
    texts = pyarrow.array(["a text", None, "another one", "ü" * 40] * 5)
    table = pyarrow.table(
        {
            "text": texts,
            "kind": texts.dictionary_encode(),
            "messages": [[{"role": "user", "content": "x"}], None, [], [{"role": "b"}]] * 5,
            "number": list(range(20)),
        }
    )
    found = {}
    for name, make in (("arrow", pyarrow.ipc.new_file), ("stream", pyarrow.ipc.new_stream)):
        sink = io.BytesIO()
        with make(sink, table.schema) as writer:
            writer.write_table(table)
        found[name] = sink.getvalue()
    sink = io.BytesIO()
    pyarrow.parquet.write_table(table, sink)
    return {**found, "parquet": sink.getvalue()}


def main(folder: Path, count: int, seed: int) -> None:
    """Flip one to eight bytes of a sample, and read it; ``count`` times."""
    chance, files, ends = random.Random(seed), samples(), Counter[str]()
    for number in range(count):
        kind = chance.choice(list(files))
        data = bytearray(files[kind])
        for _ in range(chance.randint(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path = folder / f"{number}.{'parquet' if kind == 'parquet' else 'arrow'}"
        path.write_bytes(data)
        try:
            parts = open_parts(path, folder / "cache", skip_bad_rows=True)
            ends["read"] += sum(len(list(part.rows())) >= 0 for part in parts)
        except DatasetError:
            ends["refused"] += 1
        path.unlink()
        shutil.rmtree(folder / "cache", ignore_errors=True)
    print(ends["read"], ends["refused"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
