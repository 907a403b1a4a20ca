"""The development backend as a real process: the contract's semantics, its events, its page."""

from __future__ import annotations

import itertools
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.dev_backend import DevBackend, FaultyBackend
from tests.support.paths import REPOSITORY

TOKEN = "tok-5d1f0c9e7b"
STATIC = REPOSITORY / "backend_bridge/dev_backend/static"
POINT = {"step": 1, "epoch": 0, "train_loss": 2.5}
_numbers = itertools.count(1)


class Job:
    """One job at the backend, and requests with its token."""

    def __init__(self, backend: DevBackend) -> None:
        self.backend = backend
        self.id = f"job-{next(_numbers)}"
        backend.create_job(self.id, TOKEN)

    def send(
        self, method: str, what: str, body: Any = None, *, key: str | None = None, **options: Any
    ) -> requests.Response:
        """One request; ``body`` is JSON, or bytes as they are."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return requests.request(
            method,
            f"{self.backend.url}/api/training/local/{self.id}/{what}",
            data=data,
            headers={**headers, **options.pop("headers", {})},
            timeout=30,
            **options,
        )


@pytest.fixture(scope="module")
def backend() -> Iterator[DevBackend]:
    with DevBackend() as running:
        yield running


@pytest.fixture
def job(backend: DevBackend) -> Job:
    return Job(backend)


class TestOptionalRoutes:
    def call(self, job: Job, what: str, body: dict[str, Any], token: str = TOKEN) -> Any:
        return requests.post(
            f"{job.backend.url}/api/training/local/{what}",
            json={"job_id": job.id, **body},
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
        )

    def test_many_points_are_stored_all_or_none(self, job: Job) -> None:
        points = [
            {"step": step, "epoch": 0, "timestamp": "2026-01-01T00:00:00Z"} for step in (1, 2)
        ]
        assert self.call(job, "metrics", {"metrics": points}).json()["inserted"] == 2
        for bad in ([], [*points, {"step": 0, "epoch": 0}], "no list"):
            assert self.call(job, "metrics", {"metrics": bad}).status_code == 400
        assert [point["step"] for point in job.backend.metrics(job.id)] == [1, 2]

    def test_predictions(self, job: Job) -> None:
        told = {"step": 1, "epoch": 0, "sample_index": 0, "prompt": "2+2?", "prediction": "4"}
        assert self.call(job, "predictions", {"predictions": [told]}).ok
        assert self.call(job, "predictions", {"predictions": []}).status_code == 400
        stored = job.backend.call("GET", f"/api/training/local/{job.id}/predictions")
        assert stored["predictions"] == [told]

    def test_the_row_takes_what_is_given_and_keeps_the_rest(self, job: Job) -> None:
        for fields in ({"total_steps": 8, "progress": 0}, {"progress": 50, "status": "running"}):
            assert self.call(job, "jobs", {"user_id": "user-1", **fields}).ok
        row = job.backend.call("GET", f"/api/training/local/{job.id}/row")
        assert row == {"job_id": job.id, "total_steps": 8, "progress": 50}
        assert job.backend.status(job.id)["status"] == "running"
        assert self.call(job, "jobs", {"progress": 60}).status_code == 422

    @pytest.mark.parametrize("what", ["metrics", "predictions", "jobs"])
    def test_they_ask_for_the_jobs_own_token(self, job: Job, what: str) -> None:
        assert self.call(job, what, {}, token="wrong").status_code == 401

    def test_they_can_be_absent(self) -> None:
        with DevBackend(options=["--without-optional-routes"]) as lacking:
            job = Job(lacking)
            assert self.call(job, "metrics", {"metrics": [POINT]}).status_code in (404, 405)
            assert self.call(job, "predictions", {}).status_code in (404, 405)
            assert self.call(job, "jobs", {"user_id": "user-1"}).status_code == 409


class TestChecksInOrder:
    @pytest.mark.parametrize(
        ("authorization", "job_id", "status", "error"),
        [
            (None, "known", 401, "Missing bearer token"),
            ("Basic abc", "known", 401, "Missing bearer token"),
            ("Bearer ", "known", 401, "Missing bearer token"),
            (None, "unknown", 401, "Missing bearer token"),
            ("Bearer wrong", "unknown", 404, "Job not found"),
            ("Bearer wrong", "known", 401, "Invalid job token"),
            (f"Bearer {TOKEN}", "known", 400, "Invalid status"),
        ],
    )
    def test_token_before_job_before_body(
        self, job: Job, authorization: str | None, job_id: str, status: int, error: str
    ) -> None:
        headers = {} if authorization is None else {"Authorization": authorization}
        answer = requests.patch(
            f"{job.backend.url}/api/training/local/{job.id if job_id == 'known' else 'no'}/status",
            json={"status": "exploded"},
            headers=headers,
            timeout=30,
        )
        assert (answer.status_code, answer.json()["error"]) == (status, error)

    def test_one_jobs_token_is_no_key_to_another(self, job: Job) -> None:
        job.backend.create_job(f"{job.id}-other", "another-token")
        answer = requests.put(
            f"{job.backend.url}/api/training/local/{job.id}-other/metrics",
            json=POINT,
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=30,
        )
        assert answer.status_code == 401
        assert job.backend.metrics(f"{job.id}-other") == []

    def test_a_method_that_is_not_there_is_405_as_json(self, job: Job) -> None:
        answer = job.send("DELETE", "status")
        assert (answer.status_code, answer.json()) == (405, {"error": "Method Not Allowed"})

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000])
    @pytest.mark.parametrize(
        ("method", "what"), [("PATCH", "status"), ("PUT", "metrics"), ("POST", "logs")]
    )
    def test_what_is_no_json_object_is_400(
        self, job: Job, method: str, what: str, body: bytes
    ) -> None:
        answer = job.send(method, what, body)
        assert answer.status_code == 400
        assert isinstance(answer.json()["error"], str)


class TestCreation:
    def test_a_new_job_is_pending_and_shows_no_token(self, job: Job) -> None:
        found = job.backend.status(job.id)
        assert (found["status"], found["started_at"], found["error"]) == ("pending", None, None)
        assert not [name for name in found if "token" in name]

    def test_an_id_that_is_taken_is_409(self, job: Job) -> None:
        with pytest.raises(requests.HTTPError, match="409"):
            job.backend.create_job(job.id, TOKEN)

    def test_all_wrong_fields_are_named(self, backend: DevBackend) -> None:
        body = {"job_id": "../x", "job_token": "", "config": [], "status": "odd", "user_id": 1}
        answer = requests.post(f"{backend.url}/api/training/local/jobs", json=body, timeout=30)
        assert answer.status_code == 400
        for name in body:
            assert f"{name}:" in answer.json()["details"]

    def test_jobs_are_listed_newest_first(self, job: Job) -> None:
        newer = Job(job.backend)
        listed = [
            item["job_id"] for item in job.backend.call("GET", "/api/training/local/jobs")["jobs"]
        ]
        assert listed[:2] == [newer.id, job.id]


class TestStatus:
    def test_any_status_is_written_over_any_other(self, job: Job) -> None:
        for status in ("running", "cancelled", "running", "paused", "completed", "failed"):
            answer = job.send("PATCH", "status", {"status": status}).json()
            assert (answer["success"], answer["status"]) == (True, status)
            assert job.backend.status(job.id)["updated_at"] == answer["updated_at"]
            assert job.backend.status(job.id)["status"] == status

    @pytest.mark.parametrize("status", ["queued", "pending", "", None, 1, ["running"]])
    def test_an_unknown_status_is_400_and_changes_nothing(self, job: Job, status: Any) -> None:
        assert job.send("PATCH", "status", {"status": status}).status_code == 400
        assert job.backend.status(job.id)["status"] == "pending"

    def test_start_is_the_first_and_the_end_is_open_again_after_a_restart(self, job: Job) -> None:
        job.send("PATCH", "status", {"status": "running"})
        started = job.backend.status(job.id)["started_at"]
        job.send("PATCH", "status", {"status": "failed", "error": "lost the worker"})
        failed = job.backend.status(job.id)
        assert failed["error"] == "lost the worker"
        assert failed["ended_at"] > started
        job.send("PATCH", "status", {"status": "running"})
        again = job.backend.status(job.id)
        assert (again["started_at"], again["ended_at"], again["error"]) == (started, None, None)


class TestMetrics:
    @pytest.mark.parametrize(
        "body",
        [
            {"epoch": 0},
            {"step": 0, "epoch": 0},
            {"step": None, "epoch": 0},
            {"step": -1, "epoch": 0},
            {"step": 1.5, "epoch": 0},
            {"step": "1", "epoch": 0},
            {"step": True, "epoch": 0},
            {"step": 2**70, "epoch": 0},
            {"step": 1},
            {"step": 1, "epoch": "0"},
            {"step": 1, "epoch": True},
            {"step": 1, "epoch": 0, "train_loss": "low"},
            b'{"step": 1, "epoch": NaN}',
            b'{"step": 1, "epoch": 0, "train_loss": Infinity}',
            b'{"step": 1, "epoch": 0, "train_loss": 1e999}',
        ],
    )
    def test_a_bad_point_is_400_and_not_stored(self, job: Job, body: Any) -> None:
        assert job.send("PUT", "metrics", body).status_code == 400
        assert job.backend.metrics(job.id) == []

    def test_a_replay_is_a_second_row(self, job: Job) -> None:
        for _ in range(2):
            assert job.send("PUT", "metrics", POINT).json() == {"success": True}
        assert job.backend.metrics(job.id) == [POINT, POINT]

    def test_unknown_fields_are_ignored_and_absent_ones_left_out(self, job: Job) -> None:
        extra = {"eval_perplexity": 9.0, "mood": "fine", "eval_loss": None, "perplexity": 8.5}
        job.send("PUT", "metrics", POINT | extra)
        assert job.backend.metrics(job.id) == [POINT | {"perplexity": 8.5}]

    def test_the_job_knows_the_last_value_of_each_field(self, job: Job) -> None:
        job.send("PUT", "metrics", POINT)
        job.send("PUT", "metrics", {"step": 2, "epoch": 0, "eval_loss": 2.25})
        latest = job.backend.status(job.id)["latest"]
        assert latest == {"step": 2, "epoch": 0, "train_loss": 2.5, "eval_loss": 2.25}


class TestLogs:
    def test_lines_are_appended_as_they_are(self, job: Job) -> None:
        first, second = ["a", "", "\u0000 \u001b[31m ü \U0001f689"], ["<b>&"]
        job.send("POST", "logs", {"logs": first})
        answer = job.send("POST", "logs", {"logs": second}).json()
        assert answer == {"success": True, "logs_appended": 1, "total_logs": 4}
        assert job.backend.logs(job.id) == first + second

    def test_half_a_surrogate_pair_becomes_a_replacement_character(self, job: Job) -> None:
        assert job.send("POST", "logs", b'{"logs": ["a\\ud800b"]}').status_code == 200
        assert job.backend.logs(job.id) == ["a\ufffdb"]

    @pytest.mark.parametrize("body", [{}, {"logs": "a"}, {"logs": [1]}, {"logs": ["a", None]}])
    def test_what_is_no_array_of_strings_is_400(self, job: Job, body: Any) -> None:
        assert job.send("POST", "logs", body).status_code == 400
        assert job.backend.logs(job.id) == []

    def test_the_last_ten_thousand_are_kept(self, job: Job) -> None:
        lines = [f"line {number}" for number in range(10_250)]
        job.send("POST", "logs", {"logs": lines[:10_100]})
        answer = job.send("POST", "logs", {"logs": lines[10_100:]}).json()
        assert (answer["logs_appended"], answer["total_logs"]) == (150, 10_000)
        assert job.backend.logs(job.id) == lines[250:]

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("limit=2", ["0", "1"]),
            ("limit=2&offset=3", ["3", "4"]),
            ("offset=-2", ["3", "4"]),
            ("offset=-9&limit=1", ["0"]),
            ("offset=5", []),
        ],
    )
    def test_a_part_can_be_read(self, job: Job, query: str, expected: list[str]) -> None:
        job.send("POST", "logs", {"logs": ["0", "1", "2", "3", "4"]})
        part = job.backend.call("GET", f"/api/training/local/{job.id}/logs?{query}")
        assert (part["logs"], part["total_lines"]) == (expected, 5)

    def test_posts_side_by_side_lose_nothing(self, job: Job) -> None:
        def post(writer: int) -> None:
            for number in range(8):
                job.send("POST", "logs", {"logs": [f"{writer}.{number}"] * 3}).raise_for_status()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(post, range(4)))
        lines = job.backend.logs(job.id)
        assert len(lines) == 96
        for writer in range(4):
            own = [line for line in lines if line.startswith(f"{writer}.")]
            assert own == [f"{writer}.{number}" for number in range(8) for _ in range(3)]


class TestIdempotencyKey:
    def test_the_first_answer_is_given_again_and_nothing_done(self, job: Job) -> None:
        for method, what, body in (
            ("PUT", "metrics", POINT),
            ("POST", "logs", {"logs": ["once"]}),
            ("PATCH", "status", {"status": "running"}),
        ):
            key = f"{job.id}:1:{what}"
            first = job.send(method, what, body, key=key)
            assert job.send(method, what, body, key=key).content == first.content
        assert job.backend.metrics(job.id) == [POINT]
        assert job.backend.logs(job.id) == ["once"]

    def test_a_late_replay_does_not_bring_a_status_back(self, job: Job) -> None:
        job.send("PATCH", "status", {"status": "running"}, key="1")
        job.send("PATCH", "status", {"status": "completed"}, key="2")
        job.send("PATCH", "status", {"status": "running"}, key="1")
        assert job.backend.status(job.id)["status"] == "completed"

    def test_a_refusal_is_not_remembered(self, job: Job) -> None:
        refused = job.send("PUT", "metrics", POINT, key="1", headers={"Authorization": "Bearer x"})
        assert refused.status_code == 401
        assert job.send("PUT", "metrics", {"step": 0}, key="1").status_code == 400
        assert job.send("PUT", "metrics", POINT, key="1").status_code == 200
        assert job.backend.metrics(job.id) == [POINT]

    def test_another_request_with_a_used_key_is_told_so(self, job: Job) -> None:
        job.send("POST", "logs", {"logs": ["a"]}, key="1")
        assert job.send("POST", "logs", {"logs": ["b"]}, key="1").status_code == 422
        assert job.backend.logs(job.id) == ["a"]

    def test_keys_belong_to_their_job(self, job: Job) -> None:
        other = Job(job.backend)
        for one in (job, other):
            one.send("PUT", "metrics", POINT, key="same")
        assert job.backend.metrics(other.id) == [POINT]


class Events:
    """Reads one event stream."""

    def __init__(self, url: str, last_event_id: str | None = None) -> None:
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        self._answer = requests.get(url, headers=headers, stream=True, timeout=30)
        self._lines = self._answer.iter_lines(chunk_size=1, decode_unicode=True)

    def next(self) -> tuple[str, str | None, Any]:
        """Name, id and data of the next event."""
        fields: dict[str, str] = {}
        for line in self._lines:
            name, _, value = line.partition(": ")
            if name in ("event", "id", "data"):
                fields[name] = value
            if not line and "data" in fields:
                return fields["event"], fields.get("id"), json.loads(fields["data"])
        raise EOFError("the stream has ended")

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *error: object) -> None:
        self._answer.close()


class TestEvents:
    def test_a_job_is_followed_and_taken_up_where_it_was_left(self, job: Job) -> None:
        job.send("POST", "logs", {"logs": ["a", "b"]})
        url = f"{job.backend.url}/api/dev/events/{job.id}"
        with Events(url) as events:
            name, _, data = events.next()
            assert (name, data["lines"], data["metrics"]) == ("changes", ["a", "b"], [])
            job.send("PUT", "metrics", POINT)
            _, seen, data = events.next()
            assert data["lines"] == []
            assert [{**point, "at": ""} for point in data["metrics"]] == [{**POINT, "at": ""}]
        job.send("POST", "logs", {"logs": ["c"]})
        for address, last in ((url, seen), (f"{url}?after={seen}", None)):
            with Events(address, last) as events:
                data = events.next()[2]
                assert (data["lines"], data["metrics"], data["lines_cut"]) == (["c"], [], 0)

    def test_lines_that_are_gone_are_counted(self, job: Job) -> None:
        job.send("POST", "logs", {"logs": ["x"] * 10_003})
        with Events(f"{job.backend.url}/api/dev/events/{job.id}") as events:
            portions = [events.next()[2] for _ in range(5)]
        assert sum(len(portion["lines"]) for portion in portions) == 10_000
        assert [portion["lines_cut"] for portion in portions] == [3, 0, 0, 0, 0]

    def test_the_list_hears_of_every_job(self, job: Job) -> None:
        with Events(f"{job.backend.url}/api/dev/events") as events:
            name, _, data = events.next()
            assert (name, data["jobs"][0]["job_id"]) == ("jobs", job.id)
            job.send("PATCH", "status", {"status": "running"})
            name, _, data = events.next()
            assert (name, data["job_id"], data["status"]) == ("job", job.id, "running")

    def test_a_job_that_is_not_there_is_404(self, backend: DevBackend) -> None:
        assert requests.get(f"{backend.url}/api/dev/events/no", timeout=30).status_code == 404


class TestPage:
    @pytest.mark.parametrize("path", ["/", "/jobs/anything"])
    def test_it_loads_nothing_from_elsewhere(self, backend: DevBackend, path: str) -> None:
        page = requests.get(backend.url + path, timeout=30)
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assets = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
        assert len(assets) >= 3
        for asset in assets:
            assert requests.get(backend.url + asset, timeout=30).status_code == 200

    def test_data_never_becomes_markup(self) -> None:
        for script in STATIC.glob("*.js"):
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(",
                script.read_text(),
            ), script.name

    def test_scripts_import_only_files_that_exist(self) -> None:
        scripts = list(STATIC.glob("*.js"))
        assert scripts
        for script in scripts:
            for name in re.findall(r'from "\./([^"]+)"', script.read_text()):
                assert (STATIC / name).is_file(), f"{script.name} imports {name}"

    def test_a_job_that_is_deleted_is_gone_with_all_that_it_sent(self, job: Job) -> None:
        job.send("PUT", "metrics", POINT)
        row = f"{job.backend.url}/api/training/local/jobs/{job.id}"
        assert requests.delete(row, timeout=30).json() == {"success": True}
        assert requests.delete(row, timeout=30).status_code == 404
        job.backend.create_job(job.id, TOKEN)
        assert job.backend.metrics(job.id) == []

    def test_other_sites_are_kept_out(self, job: Job) -> None:
        for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
            answer = job.send("PATCH", "status", {"status": "failed"}, headers=headers)
            assert answer.status_code == 403
        own = {"Origin": job.backend.url}
        assert job.send("PATCH", "status", {"status": "running"}, headers=own).status_code == 200


class TestProcess:
    @pytest.mark.parametrize("kind", [DevBackend, FaultyBackend])
    def test_no_token_reaches_a_file_even_while_running(self, kind: type[DevBackend]) -> None:
        secrets = ["tok-QmFzZTY0", "wrong-c2VjcmV0", "hf_Zm9vYmFy", "access-YWNjZXNz"]
        with kind() as backend:
            config = {"provider": {"api_key": secrets[2]}, "training": {"num_epochs": 2}}
            backend.create_job("j", secrets[0], config, access_token=secrets[3])
            for token in secrets[:2]:
                requests.patch(
                    f"{backend.url}/api/training/local/j/status",
                    json={"status": "running", "job_token": token},
                    headers={"Authorization": f"Bearer {token}", "Idempotency-Key": "1"},
                    timeout=30,
                )
            assert backend.status("j")["config"]["training"] == {"num_epochs": 2}
            files = [path.read_bytes() for path in backend.folder.iterdir()]
            assert backend.stop(keep=True) == 0
            files += [path.read_bytes() for path in backend.folder.iterdir()]
            assert any(b"num_epochs" in content for content in files)
            for secret in secrets:
                assert not [content for content in files if secret.encode() in content]

    @pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
    def test_it_stops_at_once_with_a_stream_open_and_nothing_is_lost(
        self, stop: signal.Signals
    ) -> None:
        with DevBackend() as backend:
            job = Job(backend)
            job.send("PATCH", "status", {"status": "running"}, key="1")
            job.send("POST", "logs", {"logs": ["a"]})
            with Events(f"{backend.url}/api/dev/events/{job.id}") as events:
                events.next()
                assert backend.process is not None
                backend.process.send_signal(stop)
                with pytest.raises(EOFError):
                    events.next()
                assert backend.process.wait(30) == 0
            assert "exceeded" not in backend.output()  # no stream had to be cancelled
            backend.start()
            job.send("PATCH", "status", {"status": "failed"})
            job.send("PATCH", "status", {"status": "running"}, key="1")
            assert (backend.status(job.id)["status"], backend.logs(job.id)) == ("failed", ["a"])

    def test_a_kill_loses_nothing_that_was_answered(self) -> None:
        with DevBackend() as backend:
            job = Job(backend)
            for number in range(20):
                job.send("POST", "logs", {"logs": [str(number)]}).raise_for_status()
            assert backend.process is not None
            backend.process.kill()
            backend.process.wait()
            backend.start()
            assert backend.logs(job.id) == [str(number) for number in range(20)]

    def test_a_port_that_is_taken_is_an_error(self, backend: DevBackend, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "backend_bridge.dev_backend", "--port", str(backend.port)]
        ended = subprocess.run(
            [*command, "--database", str(tmp_path / "other.sqlite3")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode != 0
        assert "address already in use" in ended.stderr
