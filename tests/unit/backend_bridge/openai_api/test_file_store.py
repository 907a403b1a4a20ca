"""Store of uploaded files, many at a time: no more than its room, and nothing in part."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backend_bridge.openai_api.files.store import FileStore, UploadRefused

ROW = b'{"a": 1}\n'


def test_uploads_side_by_side_stay_within_the_room(tmp_path: Path) -> None:
    store = FileStore(tmp_path, quota_bytes=10_000)

    def upload(_: int) -> bool:
        arriving = store.begin(())
        try:
            for _ in range(300):
                arriving.write(ROW)
            arriving.keep("rows.jsonl", "fine-tune", None)
        except UploadRefused as refusal:
            assert refusal.is_too_large
            return False
        finally:
            arriving.close()
        return True

    with ThreadPoolExecutor(8) as pool:
        kept = sum(pool.map(upload, range(24)))
    kept += upload(24)  # alone: those before may have been in each other's way
    assert 1 <= kept <= 3
    assert len(store.files()) == len(list(store.folder.iterdir())) == kept
    assert store.used_bytes() <= store.quota_bytes + kept * 300


def test_uploads_that_lag_behind_take_no_more_than_their_room_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend_bridge.openai_api.files.store.LOOK_EVERY_BYTES", 10_000)
    store, piece = FileStore(tmp_path, quota_bytes=200_000), b"x" * 10_000
    under_way = [store.begin(()) for _ in range(8)]
    with pytest.raises(UploadRefused):
        for _ in range(15):
            for upload in under_way:
                upload.write(piece)
    assert store.used_bytes() <= store.quota_bytes + len(piece)
    for upload in under_way:
        upload.close()
    assert store.used_bytes() == 0


def test_a_file_that_another_request_deletes_is_no_defect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(tmp_path, quota_bytes=10_000)
    arriving = store.begin(())
    arriving.write(ROW)
    file = arriving.keep("rows.jsonl", "fine-tune", None)
    arriving.close()
    store.delete(file)
    store.delete(file)
    monkeypatch.setattr(store, "get", lambda _: file)
    assert store.use(file.id) is None
