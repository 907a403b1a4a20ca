"""Sweep of a request: a grid of settings, and the requests that it makes, one for each combination.

``sweep`` names fields of the ``config`` by dotted path, each with the values that it shall have:
``{"training.learning_rate": [1e-4, 2e-4], "lora.r": [8, 16]}`` makes four jobs. Their ids are the
request's own with ``-1`` to ``-4`` behind it, the last setting changing first; of ten and
more the small numbers have a 0 before them.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from trainyard.contract.fields.secret_fields import (
    PROBLEMS_MAX,
    Copier,
    TooMuch,
    own_secrets,
)
from trainyard.contract.parser import parse_request
from trainyard.contract.request import (
    FieldProblem,
    GroupPlace,
    RequestInvalid,
    StartRequest,
    shortened,
)
from trainyard.contract.units import MB

_PATH = re.compile(r"(?=.{1,200}$)\w+(\.\w+)*", re.ASCII)
_CONTENT_MAX = 64 * MB
"""Characters of inline data of all jobs: each keeps its own."""

_FIELDS_MAX = 100
_NOTHING = "means nothing"

Settings = dict[str, Any]
Check = Callable[[StartRequest], Sequence[FieldProblem]]


def is_sweep(body: Any) -> bool:
    """Whether a start request asks for a grid, and not for one job."""
    return isinstance(body, Mapping) and body.get("sweep") is not None


def member_bodies(body: Mapping[str, Any], jobs_max: int) -> list[dict[str, Any]]:
    """The body of each job of the sweep. Raises RequestInvalid for a grid that is none."""
    return [member for member, _ in _members(body, jobs_max)]


def parse_sweep(
    body: Mapping[str, Any], jobs_max: int, check: Check = lambda _: ()
) -> list[StartRequest]:
    """The requests of the sweep's jobs; ``check`` says what else is wrong with one.

    Raises RequestInvalid with what is wrong in any combination, as the caller spelled it.
    """
    members = _members(body, jobs_max)
    found: dict[tuple[str, str], list[Settings]] = {}
    requests = list[StartRequest]()
    for member, place in members:
        try:
            request = parse_request(member)
            problems = [*check(request), *_meaningless(request, body["sweep"])]
        except RequestInvalid as error:
            problems = error.problems
        else:
            request.group = place
            requests.append(request)
        for problem in problems:
            found.setdefault((problem.path, problem.message), []).append(place.settings)
    problems = [_told(body, *key, failing, len(members)) for key, failing in found.items()]
    if not problems:
        problems = list(_alike(requests))
    if problems:
        raise RequestInvalid(problems[:PROBLEMS_MAX])
    for request in requests:
        assert request.group is not None, "each has its place"
        request.name = shortened(f"{request.name or request.group.id}: {in_words(request.group)}")
    return requests


def in_words(place: GroupPlace) -> str:
    """What only this job has, short: ``learning_rate=0.0001, r=8``."""
    return ", ".join(f"{path.rpartition('.')[2]}={_short(v)}" for path, v in place.settings.items())


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _members(body: Mapping[str, Any], jobs_max: int) -> list[tuple[dict[str, Any], GroupPlace]]:
    grid, own = _grid(body, jobs_max), own_secrets(body)
    count = math.prod(map(len, grid.values()))
    if count > jobs_max:
        raise _invalid(
            "sweep",
            f"makes {count:,} jobs, and MAX_SWEEP_JOBS allows {jobs_max:,}: leave values out",
        )
    content = body.get("dataset_content")
    if isinstance(content, str) and len(content) * count > _CONTENT_MAX:
        raise _invalid(
            "dataset_content",
            f"each of {count} jobs keeps it: put the file below DATASET_ROOTS, and name it as "
            "dataset_path",
        )
    group = body.get("execution_id")
    group = f"sweep-{secrets.token_hex(8)}" if group is None else str(group)
    rest = {name: value for name, value in body.items() if name not in ("sweep", "execution_id")}
    members = []
    for number, values in enumerate(itertools.product(*grid.values()), start=1):
        settings = dict(zip(grid, values, strict=True))
        config = rest.get("config")
        for path, value in settings.items():
            config = _with(config, path.split("."), value, path)
        job_id = f"{group}-{number:0{len(str(count))}}"
        place = GroupPlace(id=group, number=number, of=count, settings=_stored(settings, own))
        members.append(({**rest, "execution_id": job_id, "config": config}, place))
    return members


def _stored(settings: Settings, own: Sequence[str]) -> Settings:
    """Settings as they may be stored, and said to whoever reads what is wrong with one."""
    try:
        stored: Settings = Copier(own).copy(settings)
    except TooMuch:
        return {}  # its request is refused for the same reason
    return stored


def _grid(body: Mapping[str, Any], jobs_max: int) -> dict[str, list[Any]]:
    given, grid, problems = body["sweep"], dict[str, list[Any]](), list[FieldProblem]()
    if not isinstance(given, Mapping) or not given:
        raise _invalid("sweep", 'should be an object such as {"training.learning_rate": [1, 2]}')
    if len(given) > _FIELDS_MAX:
        raise _invalid("sweep", f"should name at most {_FIELDS_MAX} fields")
    own = own_secrets(body)
    for name, values in given.items():
        path, shown = str(name).removeprefix("config."), ascii(str(name))[1:-1][:200]
        place = "sweep" if any(secret in str(name) for secret in own) else f"sweep.{shown}"
        if not _PATH.fullmatch(path):
            problems.append(_problem(place, "should be a field of config, as lora.r"))
        elif not isinstance(values, list) or not values:
            problems.append(_problem(place, "should be a list of values"))
        elif path in grid:
            problems.append(_problem(place, f"is {path}, which is named twice"))
        elif len(values) <= jobs_max and _has_one_twice(values):
            problems.append(_problem(place, "has a value twice"))
        grid[path] = values
    if problems:
        raise RequestInvalid(problems[:PROBLEMS_MAX])
    return grid


def _has_one_twice(values: Sequence[Any]) -> bool:
    return len({json.dumps(value, sort_keys=True) for value in values}) < len(values)


def _with(config: Any, path: Sequence[str], value: Any, whole: str) -> Any:
    """A copy of ``config`` with one field set; what it shares is not changed."""
    if config is not None and not isinstance(config, Mapping):
        raise _invalid(f"sweep.{whole}", f"cannot be set: what holds {path[0]} is no object")
    name, *rest = path
    here = dict(config or {})
    here[name] = _with(here.get(name), rest, value, whole) if rest else value
    return here


def _meaningless(request: StartRequest, names: Iterable[str]) -> Iterator[FieldProblem]:
    """Settings that mean nothing: the jobs would be the same."""
    paths = [str(name).removeprefix("config.") for name in names]
    for ignored in request.ignored:
        field, _, advice = ignored.partition(" ")
        for path in paths:
            if f"config.{path}.".startswith(f"{field}."):
                yield _problem(f"config.{path}", f"{_NOTHING} {advice}".rstrip())


def _told(
    body: Mapping[str, Any], path: str, message: str, failing: list[Settings], of: int
) -> FieldProblem:
    """A problem of the jobs with ``failing`` settings, at its place in the sweep."""
    swept = next(
        (s for s in failing[0] if f"config.{s}" == path or path.startswith(f"config.{s}.")), None
    )
    if swept is not None:
        values = {_short(settings[swept]): None for settings in failing}
        given = next(n for n in body["sweep"] if str(n).removeprefix("config.") == swept)
        inner = path.removeprefix(f"config.{swept}")
        if message.startswith(_NOTHING) or ", not " in message:  # which says the value itself
            return _problem(f"sweep.{given}", message)
        return _problem(f"sweep.{given}{inner}", f"{message} (it is {', '.join(values)})"[:1000])
    if len(failing) == of:
        return _problem(path, message)
    said = ", ".join(f"{name}={_short(value)}" for name, value in failing[0].items())
    return _problem(path, f"{message} (with {said})"[:1000] if said else message)


def _alike(requests: Sequence[StartRequest]) -> Iterator[FieldProblem]:
    """Combinations that make no difference: two spellings of a setting, or of a value."""
    known: dict[str, GroupPlace] = {}
    for request in requests:
        assert request.group is not None, "each has its place"
        same = known.setdefault(request.config.model_dump_json(), request.group)
        if same is not request.group:
            yield _problem(
                "sweep",
                f"makes the same job twice: with {in_words(same)} and with "
                f"{in_words(request.group)}; the config may set one in another spelling",
            )
            return


def _problem(path: str, message: str) -> FieldProblem:
    return FieldProblem(path=path, message=message)


def _invalid(path: str, message: str) -> RequestInvalid:
    return RequestInvalid([_problem(path, message)])
