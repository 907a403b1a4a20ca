"""Whatever the disk does during a save: the checkpoint before it is there, or the new one."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tasks.checkpoints.folder import BRANCH_NAME, PARTIAL_DIR_NAME, last_good, list_checkpoints
from tests.support.failing_disk import HOWS
from tests.support.failing_saves import FAILED, NEW, OLD, SAVED, begin, contents, save
from tests.support.paths import REPOSITORY
from trainyard.contract.checkpoint_manifest import MANIFEST_NAME, CheckpointDamaged, verify

DAMAGES, MANY_DAMAGES = 400, 10_000


def found_step(checkpoints: Path) -> int:
    """Step of the checkpoint that a resume goes on from; its contents are those that were saved."""
    found = last_good(checkpoints)
    assert found is not None, "none is left"
    folder, manifest = found
    attempt = 1 if manifest.step == OLD else manifest.attempt
    assert manifest.attempt == attempt
    assert (folder / "model.safetensors").read_text() == contents(manifest.step, attempt)
    assert (folder / "inner" / "optimizer.pt").read_text() == contents(manifest.step, attempt) * 40
    return manifest.step


@pytest.mark.parametrize("swaps", ["swaps", "does not swap"])
def test_a_save_on_a_disk_that_fails(tmp_path: Path, swaps: str) -> None:
    """At each operation, killed, without power, full, or with an error in this one."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.failing_saves", str(tmp_path), swaps],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    strikes = [json.loads(line) for line in done.stdout.splitlines()]
    struck = Counter(how for how, *_ in strikes)
    assert all(struck[how] > 15 for how in HOWS), struck
    seen = set()
    for how, at, code, folder in strikes:
        place, what = Path(folder), f"{how} at operation {at}: {code}"
        assert code in {"kill": [-signal.SIGKILL], "power": [-signal.SIGKILL]}.get(
            how, [FAILED, SAVED]
        ), what
        found = place.with_suffix(".found")
        step = found_step(found / "checkpoints")
        assert step in (OLD, NEW), what
        if code == SAVED or (found / "reported").exists():
            assert step == NEW, f"{what}, and reported"
        seen.add((code, step))
        # The next attempt saves, and nothing of the accident is left.
        assert found_step(place / "checkpoints") == NEW + 10, what
        assert [p.name for p in list_checkpoints(place / "checkpoints")] == ["checkpoint-30"], what
        assert list((place / "checkpoints" / PARTIAL_DIR_NAME).iterdir()) == [], what
    both = {(code, step) for code in (FAILED, -signal.SIGKILL) for step in (OLD, NEW)}
    assert both <= seen, "the faults come too early or too late"


# ---------------------------------------------------------------- damage of what lies there


def damage(path: Path, rng: random.Random) -> str:
    """Flip a bit, or cut the end off."""
    content = bytearray(path.read_bytes())
    if rng.random() < 0.3:
        kept = rng.randrange(len(content))
        path.write_bytes(content[:kept])
        return f"{path.name} cut to {kept} bytes"
    place, bit = rng.randrange(len(content)), rng.randrange(8)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {place} of {path.name}"


def damage_often(checkpoints: Path, count: int, seed: int) -> Counter[str]:
    """What became of each of ``count`` damages to the newest checkpoint or the branch's note."""
    begin(checkpoints)
    save(checkpoints, NEW, attempt=2, keep=9)
    newest = checkpoints / f"checkpoint-{NEW}"
    whole = verify(newest)
    paths = [*(p for p in newest.rglob("*") if p.is_file()), checkpoints / BRANCH_NAME]
    paths += [newest / MANIFEST_NAME] * 2
    rng = random.Random(seed)
    ends: Counter[str] = Counter()
    for _ in range(count):
        path = rng.choice(paths)
        before = path.read_bytes()
        what = damage(path, rng)
        try:
            step = found_step(checkpoints)
        except CheckpointDamaged:
            assert path.name == BRANCH_NAME, f"seed {seed}: {what}"
            ends["refused"] += 1
        else:
            ends[f"step {step}"] += 1
            if step == NEW:
                assert verify(newest) == whole, f"seed {seed}: {what}"
            assert path.name == BRANCH_NAME or step == NEW or path.parent != checkpoints
        path.write_bytes(before)
    return ends


def test_a_damaged_checkpoint_is_seen(tmp_path: Path) -> None:
    ends = damage_often(tmp_path / "checkpoints", DAMAGES, seed=0)
    assert ends["refused"] and ends[f"step {OLD}"], ends


@pytest.mark.long
def test_a_damaged_checkpoint_is_seen_ten_thousand_times(tmp_path: Path) -> None:
    print(damage_often(tmp_path / "checkpoints", MANY_DAMAGES, seed=int(time.time())))
