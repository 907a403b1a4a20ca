"""Who imports whom: read from the source of every file, and seen in fresh interpreters."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

ROOMS = ("trainyard", "backend_bridge", "worker", "tasks")
ALL_FOLDERS = {*ROOMS, "benchmarks", "docs", "examples", "tests", "tools"}
FULLER = {"tests/support": "one file a double or helper", "tests/acceptance": "one file a story"}
"""Folders that may hold more files, each with its reason."""
HEAVY = {"torch", "transformers", "trl", "peft", "accelerate", "datasets", "pandas", "pyarrow"}
"""Seconds to import: for the training side alone."""
ON_DEMAND = {"trainyard.python_client": {"pandas"}}
"""Metrics as a DataFrame, for those who ask."""
SERVICE = {"celery", "kombu", "redis", "fastapi", "uvicorn", "starlette", "rich"}
"""Not for the training process, nor for `trainyard --help`."""


def _name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {_name(path): path for room in ROOMS for path in sorted((REPOSITORY / room).rglob("*.py"))}
FILES["celeryconfig"] = REPOSITORY / "celeryconfig.py"
FILES["flowerconfig"] = REPOSITORY / "flowerconfig.py"


@cache
def imports(module: str) -> frozenset[str]:
    """Every module that the file names in an import, wherever in the file it stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".")
            if node.level:
                is_package = FILES[module].name == "__init__.py"
                package = package[: len(package) - node.level + is_package]
            base = ".".join([*package, node.module or ""] if node.level else [node.module or ""])
            base = base.rstrip(".")
            found |= {
                f"{base}.{a.name}" if f"{base}.{a.name}" in FILES else base for a in node.names
            }
    return frozenset(found)


def tops(module: str) -> set[str]:
    return {name.partition(".")[0] for name in imports(module)}


def of_ours(module: str) -> set[str]:
    return {name for name in imports(module) if name in FILES}


CONTRACT = {m for m in FILES if m.startswith("trainyard.contract")}
"""What both sides know. `trainyard.durable_files` beside it is the standard library's."""
TRAINING_SIDE = [m for m in FILES if m.startswith("tasks") and m != "tasks.train"]
OTHER_SIDE = [m for m in FILES if m not in TRAINING_SIDE]

PACKAGES = {
    "trainyard": set(),
    "celeryconfig": {"trainyard"},
    "flowerconfig": {"trainyard", "backend_bridge"},
    "backend_bridge": {"trainyard"},
    "worker": {"trainyard"},
    "tasks": {"trainyard", "worker"},
}
"""Which packages of ours a package imports (of `tasks` only its Celery task imports `worker`)."""

ROOMS_BELOW = {
    "trainyard": [
        [
            "contract",
            "direct_http",
            "redis_url",
            "prctl",
            "old_names",
        ],
        ["service", "durable_files", "setting_parts", "service_logs"],
        ["settings", "child_process", "client"],
        ["home", "secret_environment", "secret_pieces"],
        ["redaction"],
        ["log_lines"],
        ["store"],
        ["redis_check"],
        ["scheduling"],
        ["local"],
        ["cli"],
        ["python_client"],
    ],
    "backend_bridge": [
        ["intake", "delivery", "reaper"],
        ["wiring", "webhook"],
        ["api", "courier_child"],
        ["openai_api"],
        ["routers"],
        ["server", "courier", "dev_backend"],
    ],
    "worker": [
        ["machine", "doubt"],
        ["slot_lease"],
        ["slot", "start_checks", "active_hours"],
        ["slot_process"],
        ["supervisor"],
        ["generation"],
        ["signals", "consuming", "kept_worker"],
        ["proof"],
        ["launcher"],
        ["remote_control"],
        ["app", "health"],
    ],
    "tasks": [
        ["errors", "demo"],
        ["sealed_secrets"],
        ["channel", "fresh_process", "output", "library_logs", "out_of_memory"],
        ["arguments", "checkpoints", "models", "parking", "progress", "ranks"],
        ["run", "datasets"],
        ["methods", "fetcher"],
        ["preparation", "probe"],
        ["callbacks"],
        ["trial"],
        ["results"],
        ["trainer"],
        ["preload"],
        ["runner"],
        ["generation"],
        ["exports"],
    ],
    "tasks.datasets": [
        ["cache", "formats", "row_shapes"],
        ["sources"],
        ["readers"],
        ["used"],
        ["parts", "split", "report"],
        ["shapes"],
        ["tokens", "opened"],
        ["row_kinds"],
        ["example"],
        ["training_data"],
        ["read_data"],
        ["sets"],
        ["mix"],
        ["prepare", "check_tokenizer"],
        ["check"],
    ],
}
"""Floors of each package, from the ground up: a room (a folder, or a file at the package's root)
imports from floors below its own. Rooms of one floor do not know each other."""
CLOSED = [
    ("backend_bridge.api", "backend_bridge.delivery"),
    ("backend_bridge.api", "backend_bridge.reaper"),
    ("tasks.datasets.readers", "tasks.datasets.sources"),
]
"""Doors that are shut though the floors would allow them."""

FILES_IN_A_FOLDER_MAX = 15
LINES_IN_A_FILE_MAX = 300
LONGER: dict[str, str] = {}
"""Files that may be longer, each with its reason."""
OWN_IMPORTS_MAX = 15
IMPORTS_MORE: dict[str, str] = {}
"""Files that may import more of our modules, each with its reason."""


def test_the_files_were_found() -> None:
    """A door that guards nothing would pass every test here."""
    assert {"trainyard.contract.config", "worker.app", "tasks.runner", "tasks.datasets"} <= set(
        FILES
    )
    assert of_ours("tasks.train") >= {"worker.supervisor.attempt", "trainyard.contract.names"}


def test_contract_imports_pydantic_and_the_standard_library_alone() -> None:
    allowed = {*sys.stdlib_module_names, "pydantic", "trainyard"}
    assert not {m: more for m in CONTRACT if (more := tops(m) - allowed)}
    assert not {m: more for m in CONTRACT if (more := of_ours(m) - CONTRACT)}


def test_packages_import_only_what_lies_below_them() -> None:
    for module in FILES:
        package = module.partition(".")[0]
        ours = {name.partition(".")[0] for name in of_ours(module)}
        assert ours <= PACKAGES[package] | {package}, module


def place(package: str, module: str) -> tuple[int, str] | None:
    """Floor and room of a module in ``package``; None for the package itself."""
    room = module.removeprefix(f"{package}.").partition(".")[0]
    floors = ROOMS_BELOW[package]
    found = [(floor, room) for floor, rooms in enumerate(floors) if room in rooms]
    assert found or module in (package, "tasks.train"), f"{module} has no floor in {package}"
    return found[0] if found else None


@pytest.mark.parametrize("package", list(ROOMS_BELOW))
def test_a_room_imports_from_the_floors_below_its_own(package: str) -> None:
    inside = [m for m in FILES if m.startswith(f"{package}.") and m != "tasks.train"]
    wrong = []
    for module in inside:
        for name in of_ours(module):
            if name in inside:
                own, other = place(package, module), place(package, name)
                if own and other and own != other and own[0] <= other[0]:
                    wrong.append(f"{module} imports {name}")
    assert not wrong


@pytest.mark.parametrize(("room", "other"), CLOSED)
def test_a_shut_door(room: str, other: str) -> None:
    inside = [m for m in FILES if m.startswith(room)]
    assert inside
    assert not [m for m in inside if any(name.startswith(other) for name in of_ours(m))]


def test_the_training_side_knows_the_contract_and_nothing_else_outside() -> None:
    for module in TRAINING_SIDE:
        outside = {name for name in of_ours(module) if not name.startswith("tasks")}
        assert outside <= CONTRACT | {"trainyard.durable_files", "trainyard.prctl"}, module
        remote = module.startswith("tasks.datasets.sources.remote.")
        web = {"httpx"} | (set() if remote else {"requests", "urllib3"})
        assert not tops(module) & (SERVICE | web), module


def test_nothing_heavy_outside_the_training_side() -> None:
    assert {m: found for m in OTHER_SIDE if (found := tops(m) & HEAVY)} == ON_DEMAND


def test_http_to_our_own_goes_through_the_client_that_passes_by_proxies() -> None:
    call = re.compile(r"requests\.(get|post|put|patch|request|Session)\(|urllib\.request|httpx")
    ours = set(OTHER_SIDE) - {"trainyard.direct_http"}
    assert not [module for module in ours if call.search(FILES[module].read_text())]


def test_worker_imports_no_task_by_name() -> None:
    """Celery finds `tasks.train`, the slot process forks `tasks.runner`: both by name, late."""
    assert not [m for m in FILES if m.startswith("worker") and "tasks" in tops(m)]


def test_there_is_no_import_cycle() -> None:
    assert list(TopologicalSorter({module: of_ours(module) for module in FILES}).static_order())


def test_no_folder_is_full() -> None:
    counts = Counter(p.parent for p in python_files() if p.name != "__init__.py")
    full = {str(folder): n for folder, n in counts.items() if n > FILES_IN_A_FOLDER_MAX}
    assert not {f: n for f, n in full.items() if f not in FULLER}


def test_no_file_is_longer_than_a_head_holds() -> None:
    lines = {m: len(path.read_text().splitlines()) for m, path in FILES.items()}
    longer = {m for m, n in lines.items() if n > LINES_IN_A_FILE_MAX}
    assert longer == set(LONGER), "LONGER names each with its reason, and none that is short"


def test_no_file_imports_more_than_15_of_our_modules() -> None:
    more = {module for module in FILES if len(of_ours(module)) > OWN_IMPORTS_MAX}
    assert more == set(IMPORTS_MORE), "IMPORTS_MORE names each with its reason, and none too many"


def python_files() -> list[Path]:
    """Every Python file of the repository, relative to it."""
    top = [p for p in REPOSITORY.iterdir() if p.is_dir() and (p.name in ALL_FOLDERS)]
    return [f.relative_to(REPOSITORY) for folder in top for f in folder.rglob("*.py")]


BY_HAND = re.compile(
    r"(?<!micros / )\b1e[69]\b|\b10 ?\*\* ?[69]\b|\b1024 ?\*\*|\b2 ?\*\* ?[23]0\b|>> ?[123]0\b"
    r"|[*/] ?1_000_000"
)
"""A conversion of bytes that its file makes up by itself. Redis and the file system count time."""
MAY_CONVERT = {"trainyard.contract.units", "worker.machine.memory"}
"""The second is the keeper's, which loads no other package."""


def test_bytes_are_counted_in_the_units_of_one_place() -> None:
    for module in FILES.keys() - MAY_CONVERT:
        lines = FILES[module].read_text().splitlines()
        found = [line for line in lines if BY_HAND.search(line) and "st_ctime_ns" not in line]
        assert not found, module


def loaded(code: str) -> set[str]:
    """Names in ``sys.modules`` after ``code`` in a fresh interpreter."""
    program = f"import json, sys\n{code}\nprint('\\n' + json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


HELP = """
from trainyard.cli.main import main
try:
    main(["--help"])
except SystemExit as end:
    assert end.code == 0
"""
ENTRIES = {
    "trainyard --help": (HELP, HEAVY | SERVICE | {"worker", "tasks", "numpy"}),
    "bridge": ("import backend_bridge.server", HEAVY | {"worker", "tasks", "numpy"}),
    "courier": ("import backend_bridge.courier", HEAVY | {"fastapi", "worker", "tasks", "numpy"}),
    "up": ("import trainyard.cli.up", HEAVY | {"celery", "fastapi", "worker", "tasks", "numpy"}),
    "celery worker": ("import worker.app, tasks.train", HEAVY | {"fastapi", "rich", "numpy"}),
    "launcher": ("import worker.launcher", HEAVY | (SERVICE - {"redis"}) | {"numpy"}),
    "slot process": (
        "import worker.slot_process.__main__",
        HEAVY | SERVICE | {"requests", "numpy"},
    ),
    "keeper": (
        "import worker.slot_process.keeper",
        HEAVY | SERVICE | {"backend_bridge", "pydantic"},
    ),
    "runner": ("import tasks.runner", HEAVY | SERVICE | {"worker", "numpy", "requests"}),
    "embedded Redis": (
        "import trainyard.local.embedded_redis",
        HEAVY | {"celery", "fastapi", "numpy"},
    ),
}


@pytest.mark.parametrize("entry", list(ENTRIES))
def test_what_an_entry_point_really_loads(entry: str) -> None:
    code, forbidden = ENTRIES[entry]
    assert not {name.partition(".")[0] for name in loaded(code)} & forbidden


def test_the_whole_training_side_loads_no_redis_and_no_service() -> None:
    names = loaded("import tasks.preload, tasks.runner")
    assert "torch" in names, "the preload is there to load it"
    assert not {n for n in names if n.startswith("backend_bridge")}
    assert not {n.partition(".")[0] for n in names} & (SERVICE - {"rich"} | {"worker"})
