"""HTTP client of the bridge, as the command line calls it.

Exceptions:

    BridgeError              the bridge refused; the text is its sentence
     └ BridgeUnreachable     nobody answers at its address
    GenerationFailed         a model gave no whole answer
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import requests

from trainyard.contract.error_tree import TrainyardError
from trainyard.direct_http import open_session

TIMEOUT_S = 30.0
_POINTS_A_PAGE = 5_000
_DATA = b"data: "
_CUT = {
    "length": "(cut after {} tokens: max_tokens, or the model has no more places)",
    "deadline": "(cut after {} tokens: it took too long)",
    "cancelled": "(cancelled after {} tokens)",
}


class BridgeError(TrainyardError):
    """The bridge refused a call; ``status`` is the HTTP status."""

    def __init__(self, sentence: str, status: int = 0, mend: str = "") -> None:
        super().__init__(sentence, mend)
        self.status = status


class BridgeUnreachable(BridgeError):
    """Nobody answers at the bridge's address."""


class GenerationFailed(TrainyardError):
    """A model gave no answer, or not all of it."""


class BridgeClient:
    """Calls of section 2 of the contract. ``api_key`` if the bridge asks for one."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._session = open_session()
        if api_key:
            self._session.headers["Authorization"] = f"Bearer {api_key}"

    def close(self) -> None:
        self._session.close()

    def start(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._call("POST", "/api/training/execute", json=body)

    def status(self, job_id: str) -> dict[str, Any]:
        return self._call("GET", f"/api/training/status/{quote(job_id, safe='')}")

    def jobs(self, **query: Any) -> list[dict[str, Any]]:
        """``query``: ``status`` (one or several), ``user_id``, ``since``, ``limit``."""
        jobs: list[dict[str, Any]] = self._call("GET", "/api/training/jobs", params=query)["jobs"]
        return jobs

    def group(self, group: str) -> dict[str, Any]:
        return self._call("GET", f"/api/training/groups/{quote(group, safe='')}")

    def logs(self, job_id: str, *, limit: int, offset: int) -> dict[str, Any]:
        parameters = {"limit": limit, "offset": offset}
        return self._call("GET", f"/api/training/logs/{quote(job_id, safe='')}", params=parameters)

    def metrics(self, job_id: str) -> list[dict[str, Any]]:
        """Its metric points, read page by page."""
        path = f"/api/training/metrics/{quote(job_id, safe='')}"
        points: list[dict[str, Any]] = []
        query: dict[str, Any] = {"limit": _POINTS_A_PAGE}
        while True:
            answer = self._call("GET", path, params=query)
            points += answer["metrics"]
            if not (cursor := answer.get("next_cursor")):
                return points
            query["cursor"] = cursor

    def points(self, job_id: str) -> list[dict[str, Any]]:
        """Its metric points, and as step 0 the eval before the first step, which is none of them:
        a backend takes no step 0."""
        points, before = self.metrics(job_id), self.status(job_id).get("start_eval_loss")
        first = [] if before is None else [{"step": 0, "epoch": 0, "eval_loss": before}]
        return first + points

    def errors(self, job_id: str) -> dict[str, Any]:
        return self._call("GET", f"/api/training/{quote(job_id, safe='')}/errors")

    def checkpoints(self, job_id: str) -> dict[str, Any]:
        return self._call("GET", f"/api/training/checkpoints/{quote(job_id, safe='')}")

    def usage(self, **query: Any) -> dict[str, Any]:
        """``query``: ``month`` (2026-11), ``by`` (user, model or slot)."""
        return self._call("GET", "/usage", params=query)

    def cancel(self, job_id: str, *, force: bool) -> dict[str, Any]:
        path = f"/api/training/cancel/{quote(job_id, safe='')}"
        return self._call("POST", path, json={"force": force})

    def pause(self, job_id: str) -> dict[str, Any]:
        return self._call("POST", f"/api/training/pause/{quote(job_id, safe='')}")

    def resume(self, job_id: str, checkpoint: str | None = None) -> dict[str, Any]:
        body = {"checkpoint_path": checkpoint} if checkpoint else {}
        return self._call("POST", f"/api/training/resume/{quote(job_id, safe='')}", json=body)

    def force_start(self, job_id: str, *, from_start: bool = False) -> dict[str, Any]:
        query = {"from_start": str(from_start).lower()}
        return self._call(
            "POST", f"/api/training/{quote(job_id, safe='')}/force-start", params=query
        )

    def download_model(self, job_id: str) -> requests.Response:
        """The tar archive of what was trained, to be read from ``raw`` and closed."""
        path = f"/api/training/{quote(job_id, safe='')}/download/model"
        return self._answer("GET", path, stream=True)

    def generate(self, job_id: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """What is said of a generation, as it comes; leaving the iterator ends it."""
        path = f"/api/training/{quote(job_id, safe='')}/generate"
        with self._answer("POST", path, json=body, stream=True) as answer:
            try:
                for line in answer.iter_lines(chunk_size=1):
                    if line.startswith(_DATA):
                        yield json.loads(line.removeprefix(_DATA))
            except requests.RequestException as error:
                raise BridgeUnreachable(
                    f"the bridge at {self.url} went away ({type(error).__name__})"
                ) from error

    def answer(
        self, job_id: str, body: dict[str, Any], note: Callable[[str], None] = lambda _: None
    ) -> Iterator[str]:
        """The pieces of a model's answer; ``note`` is told why there is none yet, or no more.

        Raises GenerationFailed, BridgeError.
        """
        for said in self.generate(job_id, body):
            match said["kind"]:
                case "text":
                    yield said["text"]
                case "waiting":
                    if place := _place(said):
                        note(place)
                case "failed":
                    raise GenerationFailed(said["error"], said["hint"])
                case "done":
                    if said["reason"] != "stop":
                        note(_CUT[said["reason"]].format(said["completion_tokens"]))
                    return
        raise GenerationFailed("The bridge ended the answer in its middle.", "Ask again.")

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        answer = self._answer(method, path, **arguments)
        body = _object(answer)
        if body is None:
            raise self._no_bridge(answer)
        return body

    def _no_bridge(self, answer: requests.Response) -> BridgeError:
        return BridgeError(
            f"{self.url} is no bridge: it answered {answer.status_code} and no JSON object",
            answer.status_code,
        )

    def _answer(self, method: str, path: str, **arguments: Any) -> requests.Response:
        try:
            answer = self._session.request(
                method, self.url + path, timeout=TIMEOUT_S, allow_redirects=False, **arguments
            )
        except requests.RequestException as error:
            raise BridgeUnreachable(
                f"no bridge answers at {self.url} ({type(error).__name__}).",
                mend="Start one with `trainyard up`, or set BRIDGE_HOST and BRIDGE_PORT.",
            ) from error
        if not answer.ok:
            said = _object(answer)
            if said is None:
                raise self._no_bridge(answer)
            sentences = (said.get(name) for name in ("error", "message", "detail"))
            found = next((s for s in sentences if isinstance(s, str) and s), None)
            raise BridgeError(
                found or f"{self.url}: it answered {answer.status_code} and no reason",
                answer.status_code,
            )
        return answer


def _place(waiting: dict[str, Any]) -> str:
    if not waiting["slots"]:
        return "no worker is there: it waits for one"
    if makes_way := waiting.get("makes_way"):
        return f"it slips in: job {makes_way} makes way at its next step"
    behind = [*waiting["behind"], *(["other questions"] if waiting["position"] > 1 else [])]
    if not behind:
        return ""  # it is taken in a moment
    return f"it waits for a slot, as number {waiting['position']}, behind {', '.join(behind)}"


def _object(answer: requests.Response) -> dict[str, Any] | None:
    try:
        body: Any = answer.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
