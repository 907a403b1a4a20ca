"""Files of OpenAI's clients: kept whole or not at all, below the home, within bounds."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.support.openai_yard import ROWS, Yard, refused
from tests.support.requests import request_body
from trainyard.settings import read_settings
from trainyard.store.retention import Retention

FORM = {"content-type": "multipart/form-data; boundary=B"}
WHOLE = (
    b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    + ROWS
    + b"\r\n--B--\r\n"
)


def kept(yard: Yard) -> list[Path]:
    return sorted((yard.home / "files").glob("**/*")) if (yard.home / "files").exists() else []


@pytest.mark.parametrize("name", ["rows.jsonl", "../../etc/passwd", "/abs.jsonl", 'ä b"c.jsonl'])
def test_a_file_comes_back_as_it_went_whatever_it_is_called(yard: Yard, name: str) -> None:
    rows = ROWS * 20_000
    made = yard.upload(rows, name).json()
    assert (made["object"], made["purpose"], made["status"]) == ("file", "fine-tune", "processed")
    assert made["bytes"] == len(rows)
    assert yard.get(f"files/{made['id']}").json() == made
    assert yard.get(f"files/{made['id']}/content").content == rows
    assert [path.name for path in kept(yard)] == [made["id"], "file.json", "rows.jsonl"]
    assert yard.client.delete(f"/v1/files/{made['id']}").json()["deleted"] is True
    assert kept(yard) == []
    assert "there is no file" in refused(yard.get(f"files/{made['id']}"), 404)


def test_a_form_may_come_in_pieces_of_any_size(yard: Yard) -> None:
    for size in (1, 2, 3, 50):
        pieces = (WHOLE[at : at + size] for at in range(0, len(WHOLE), size))
        made = yard.client.post("/v1/files", content=pieces, headers=FORM).json()
        assert yard.get(f"files/{made['id']}/content").content == ROWS


NO_FILES = [
    (WHOLE[:-10], "no whole field"),
    (WHOLE[:100], "no whole field"),
    (b"", "no whole field"),
    (b"--C" + WHOLE, "does not begin"),
    (WHOLE.replace(b"\r\n--B--", b"\r\n--B!!"), "middle of a line"),
    (WHOLE.replace(b'name="file"', b'name="fill"'), "no whole field"),
    (WHOLE.replace(b'name="purpose"', b'nothing="purpose"'), "no name"),
    (WHOLE[:-6] + WHOLE, "two files"),
    (WHOLE.replace(b"fine-tune", b"x" * 5000), "too long"),
    (b"--B\r\n" + b"a: b\r\n" * 5000, "too many headers"),
    (WHOLE.replace(b'filename="a"', b"filename*=idna''a"), "cannot be read"),
    (WHOLE.replace(b'filename="a"', b"filename*" + b"9" * 5000 + b"=a"), "cannot be read"),
    (WHOLE.replace(ROWS, b"a,b\n1,2\n"), "no JSON lines"),
    (WHOLE.replace(ROWS, b""), "no JSON lines"),
    (WHOLE.replace(ROWS, b"[" * 100_000), "no JSON lines"),
]


def test_what_is_no_whole_file_leaves_nothing(yard: Yard) -> None:
    for body, said in NO_FILES:
        answer = yard.client.post("/v1/files", content=body, headers=FORM)
        assert said in refused(answer, 400, "file")
        assert kept(yard) == []


def test_other_forms_purposes_and_fields_are_refused(yard: Yard) -> None:
    assert "multipart" in refused(yard.client.post("/v1/files", json={}), 400, "file")
    assert "'batch'" in refused(yard.upload(purpose="batch"), 400, "purpose")
    assert "nothing here" in refused(yard.upload(more="1"), 400, "more")
    wrong = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "10"}
    assert "3600" in refused(yard.upload(**wrong), 400, "expires_after")
    assert kept(yard) == []


def test_there_is_room_for_so_much_and_no_more(make_yard: Any) -> None:
    yard = make_yard(MAX_UPLOADS_GB="0.00001")  # 10,000 bytes
    first = yard.upload(ROWS * 60).json()["id"]
    assert "MAX_UPLOADS_GB" in refused(yard.upload(ROWS * 60), 413, "file")
    huge = {**FORM, "content-length": str(10**9)}
    answer = yard.client.post("/v1/files", content=b"--B", headers=huge)
    assert "512 MB" in refused(answer, 413, "file")
    yard.client.delete(f"/v1/files/{first}")
    assert yard.upload(ROWS * 60).status_code == 200


def test_files_go_with_their_time_unless_a_job_uses_them(yard: Yard, real_redis: Redis) -> None:
    old, used, fresh = (yard.file_id() for _ in range(3))
    yard.create(training_file=used)
    long_ago = time.time() - 40 * 86_400
    for name, last_used in ((old, long_ago - 60), (used, long_ago)):
        folder = yard.home / "files" / name
        for path in (*folder.iterdir(), folder):
            os.utime(path, (last_used, last_used))
    real_redis.zadd("trainyard:jobs", {yard.store.waiting()[0]: (long_ago - 10) * 1000})
    pruned = Retention(real_redis, read_settings()).prune(30)
    assert pruned.uploads == 1
    assert {path.name for path in (yard.home / "files").iterdir()} == {used, fresh}


@pytest.mark.parametrize("several", [False, True])
def test_a_file_that_another_api_gave_a_job_stays_while_the_job_waits(
    yard: Yard, several: bool
) -> None:
    file_id = yard.file_id()
    path = f"{file_id}/rows.jsonl"
    data: dict[str, Any] = {"dataset_path": path}
    if several:
        data = {
            "dataset_path": None,
            "datasets": [{"path": path, "weight": 2}, {"path": "b.jsonl"}],
        }
    started = yard.client.post("/api/training/execute", json=request_body("native", **data))
    assert started.status_code == 200, started.text
    assert "has not ended" in refused(yard.client.delete(f"/v1/files/{file_id}"), 400, "file_id")
    assert yard.store.cancel("native")
    assert yard.client.delete(f"/v1/files/{file_id}").status_code == 200


def test_a_file_whose_time_is_over_is_gone(yard: Yard) -> None:
    lives = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    made = yard.upload(**lives).json()
    assert made["expires_at"] == made["created_at"] + 3600
    facts = yard.home / "files" / made["id"] / "file.json"
    facts.write_text(facts.read_text().replace('"expires_at":', '"expires_at":1,"was":'))
    refused(yard.get(f"files/{made['id']}"), 404)
    other = yard.file_id()
    assert [path.name for path in (yard.home / "files").iterdir()] == [other]


def test_lists_are_paged(yard: Yard) -> None:
    ids = [yard.file_id() for _ in range(3)][::-1]
    first = yard.get("files", params={"limit": 2}).json()
    assert [one["id"] for one in first["data"]] == ids[:2]
    assert first["has_more"] is True
    rest = yard.get("files", params={"limit": 2, "after": first["last_id"]}).json()
    assert [one["id"] for one in rest["data"]] == ids[2:]
    assert rest["has_more"] is False
    upwards = yard.get("files", params={"order": "asc", "purpose": "fine-tune"}).json()
    assert [one["id"] for one in upwards["data"]] == ids[::-1]
    assert yard.get("files", params={"purpose": "fine-tune-results"}).json()["data"] == []
    refused(yard.get("files", params={"after": "file-none"}), 400, "after")
    refused(yard.get("files", params={"limit": 0}), 400, "limit")


def test_a_full_disk_is_said(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr("backend_bridge.openai_api.files.store.keep_reserve", full)
    assert refused(yard.upload(), 507) == "the file cannot be stored: no room"


def test_a_name_in_an_odd_charset_is_none_that_breaks_an_answer(yard: Yard) -> None:
    odd = WHOLE.replace(b'filename="a"', b"filename*=utf-7''+2AA-")
    made = yard.client.post("/v1/files", content=odd, headers=FORM).json()
    assert yard.get(f"files/{made['id']}").json()["filename"] == "?"


def test_what_somebody_else_left_in_the_folder_hinders_no_upload(yard: Yard) -> None:
    yard.file_id()
    stray = yard.home / "files" / ".DS_Store"
    stray.write_text("")
    os.utime(stray, (1, 1))
    assert yard.upload().status_code == 200
    assert not stray.exists()
