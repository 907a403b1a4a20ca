"""What one job has read and tokenised, another job of another process takes from the cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from tasks.datasets.prepare import prepare_data
from tasks.models.chat_template import SIMPLE_CHAT_TEMPLATE
from tests.support.models import make_tiny_model
from tests.support.training import REPOSITORY, write_jsonl
from trainyard.contract.events import TrainingSpec
from trainyard.contract.parser import parse_request

PAIRS = [
    {"prompt": f"Is {n} odd?", "completion": "Yes.", "chosen": "Yes.", "rejected": "No."}
    for n in range(30)
]
METHODS = ("sft", "dpo", "rlhf")


def prepare(home: Path, job: str, **training: Any) -> list[str]:
    """Prepare the data of one job for each method, as its training does; a hash of each."""
    tokenizer = AutoTokenizer.from_pretrained(home / "tiny")
    tokenizer.chat_template = SIMPLE_CHAT_TEMPLATE
    found = []
    for method in METHODS:
        job_id = f"{job}-{method}"
        body = {
            "execution_id": job_id,
            "dataset_path": "pairs.jsonl",
            "job_token": f"tok-of-{job_id}",
            "config": {
                "model": {"name": "tiny"},
                "training": {"method": method, **training},
                "data": {"eval_split": 0.2},
            },
        }
        (home / "jobs" / job_id).mkdir(parents=True, exist_ok=True)
        spec = TrainingSpec(
            job_id=job_id,
            attempt=1,
            slot="host-0",
            job_dir=str(home / "jobs" / job_id),
            cache_dir=str(home / "cache"),
            dataset_roots=[str(home)],
            model_roots=[str(home)],
        )
        data = prepare_data(parse_request(body), spec, tokenizer, max_length=600, add_eos=True)
        assert data.eval is not None
        record = json.loads((home / "jobs" / job_id / "data.json").read_text())
        assert record["files"] == [{"file": "pairs.jsonl", "split": "train", "rows": len(PAIRS)}]
        found += [data.train.sample_sha256(), data.eval.sample_sha256()]
    return found


def cached(home: Path) -> dict[str, tuple[int, int]]:
    """Inode and modification time of all files that are cached."""
    found = [home.glob(f"cache/datasets/{name}/**/*") for name in ("read", "rows", "tokenised")]
    paths = [path for paths in found for path in paths if path.suffix in (".arrow", ".json")]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


IN_ANOTHER_PROCESS = """
import json, sys
from pathlib import Path
from tasks.datasets import cache, parts
from tests.unit.tasks.datasets.test_cache import prepare

def again(*_):
    raise AssertionError("read or written again")

parts._read_into = cache._write = again
home, job, training = sys.argv[1:]
print(json.dumps(prepare(Path(home), job, **json.loads(training))))
"""


def in_another_process(home: Path, job: str, **training: Any) -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS, str(home), job, json.dumps(training)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found: list[str] = json.loads(ran.stdout.splitlines()[-1])
    return found


def test_another_job_of_another_process_reads_and_tokenises_nothing_again(tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "tiny")
    write_jsonl(tmp_path / "pairs.jsonl", PAIRS)
    first = prepare(tmp_path, "first")
    before = cached(tmp_path)
    made = [sum(f"/{name}/" in path for path in before) for name in ("read", "rows", "tokenised")]
    each = 2  # files: the rows and what was found while they were written
    assert made == [each, each * len(METHODS), each * 2 * len(METHODS)]
    again = in_another_process(tmp_path, "second", learning_rate=0.5, max_steps=3)
    assert again == first
    assert cached(tmp_path) == before
    write_jsonl(tmp_path / "pairs.jsonl", PAIRS[::-1])
    assert prepare(tmp_path, "third") != first
    assert set(cached(tmp_path)) > set(before), "other rows are other files"
