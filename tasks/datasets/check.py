"""Check a data set as a job would: ``python -m tasks.datasets.check``, a CheckSpec on stdin.

Prints a report, and ends with 0 (usable), 1 (usable, with warnings) or 2 (not usable). Uses no GPU.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import Any

import datasets
from pydantic import BaseModel, ValidationError

from tasks import sealed_secrets
from tasks.datasets.example import untokenised_example
from tasks.datasets.mix.mixed import read_mix, tokenise_mix
from tasks.datasets.mix.report import MixReport
from tasks.datasets.report import NOT_USABLE, Report
from tasks.datasets.sets import read_sets, tokenise_sets
from tasks.datasets.sources.locate import DownloadLimits, Located, NoSuchPath, locate_dataset
from tasks.datasets.training_data import ReadData
from tasks.errors import DatasetError
from tasks.errors import report as explain
from trainyard.contract.config import JobConfig
from trainyard.contract.errors import ERROR_HINTS, ErrorKind
from trainyard.contract.units import GB

WITHOUT_MODEL = (
    "Without --model nothing is tokenised: lengths are in characters, and the chat template, "
    "what max_length cuts off and the tokens that are trained on are not known."
)


_OPTIONS = {
    "config.data.columns": "--column",
    "config.data.skip_bad_rows": "--skip-bad-rows",
    "config.data.text_field": "--text-field",
    "config.data.subset": "--subset",
    "config.training.method": "--method",
    "config.training.max_length": "--max-length",
}
"""Options of the command by the fields of a request, of which a report speaks."""
_TOLD = re.compile(r"config\.data\.columns, as in (\{[^{}]*\})")
"""As ``needs`` of the shapes says it."""


class CheckSpec(BaseModel):
    """What to check: ``path``, or ``config.datasets``, of which ``path`` is the name. ``config`` is
    a job's; its model counts if ``with_model``."""

    path: str
    eval_path: str = ""
    config: JobConfig
    with_model: bool
    model_roots: list[str]
    cache_dir: str
    jobs_dir: str = ""
    max_download_gb: float = 50
    allow_private_urls: bool = False
    as_json: bool = False


def main() -> int:
    """Check what stdin names; returns the exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    for noisy in ("httpx", "urllib3", "filelock", "fsspec", "tasks.models.load"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    datasets.disable_progress_bars()
    sealed_secrets.keep_from_environment()
    # Only encoding is parallel, and nothing is forked after it.
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    try:
        spec = CheckSpec.model_validate_json(sys.stdin.buffer.read())
    except ValidationError as error:
        sys.stderr.write(f"Not a check: {error}\n")
        return NOT_USABLE
    report = check(spec)
    if spec.as_json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal's own
        for line in report.lines():
            print(as_typed(line))
    return report.exit_code


def as_typed(line: str) -> str:
    """``line`` with the options of ``trainyard check-dataset`` for the fields of a request."""
    line = _TOLD.sub(_as_options, line)
    for field, option in _OPTIONS.items():
        line = line.replace(field, option)
    return line


def _as_options(told: re.Match[str]) -> str:
    try:
        roles = json.loads(told[1])
    except ValueError:  # a row says so, not we
        return told[0]
    return " ".join(f"--column {shlex.quote(f'{role}={roles[role]}')}" for role in roles)


def check(spec: CheckSpec) -> Report:
    """Check the data set; whatever is wrong with it stands in the report."""
    method, seed = spec.config.training.method, spec.config.seed
    several = spec.config.datasets
    report = MixReport(spec.path, method, seed=seed) if several else Report(spec.path, method)
    try:
        _check(spec, report)
    except Exception as error:
        # Whatever happens is an answer to the person who asked, as it is for a job.
        found = explain(error)
        if found.kind == "internal":
            traceback.print_exc()
        if report.error is None:
            report.error, report.hint = found.message, found.hint
            if found.hint == ERROR_HINTS[ErrorKind.DATASET]:  # it advises what is running
                report.hint = "Name a file or a folder with rows."
    return report


def _check(spec: CheckSpec, report: Report) -> None:
    cache_dir = Path(spec.cache_dir) / "datasets"
    limits = DownloadLimits(int(spec.max_download_gb * GB), spec.allow_private_urls)

    def located(path: str, subset: str | None = None) -> Located:
        here = Path(path).expanduser()
        named = str(here.absolute()) if here.exists() else path
        try:
            # A person reads what they may read; the roots are for jobs that others send.
            return locate_dataset(named, None, ["/"], cache_dir, limits, subset)
        except NoSuchPath:
            raise DatasetError(f"No such file or folder: {path!r}.", "Check the path.") from None

    config, evaluates = spec.config, spec.eval_path
    if isinstance(report, MixReport):
        mix = read_mix(config.datasets or [], located, evaluates, config, cache_dir, report, limits)
        if spec.with_model and report.error is None:
            tokenise_mix(mix, config, cache_dir=cache_dir, report=report, **_how(spec, report))
        elif not spec.with_model:
            for one in mix.sets:
                _measure(one.read, one.report)
            _measure_eval(mix.eval, report)
            report.add_up()
        return
    found = located(spec.path, config.data.subset or None)
    locate_eval = partial(located, evaluates) if evaluates else None
    sets = read_sets(found, locate_eval, config, cache_dir, report, limits)
    if spec.with_model:
        tokenise_sets(sets, config, cache_dir=cache_dir, report=report, **_how(spec, report))
        return
    _measure(sets.train, report)
    _measure_eval(sets.eval, report)


def _how(spec: CheckSpec, report: Report) -> dict[str, Any]:
    # Late: torch takes seconds to import, and a check without a model does without.
    from tasks.datasets.check_tokenizer import tokenizer_of  # noqa: PLC0415

    found, note = tokenizer_of(spec.config, spec.model_roots, Path(spec.jobs_dir))
    report.notes += [note] if note else []
    return found


def _measure(read: ReadData, report: Report) -> None:
    report.unit = "characters"
    for rows in read.stored:
        report.lengths.update(rows.characters)
    part, indices = read.train
    if len(indices):
        report.example = untokenised_example(read.stored[part].dataset[int(indices[0])])
    report.notes.append(WITHOUT_MODEL)


def _measure_eval(read: ReadData | None, report: Report) -> None:
    if read is not None and report.eval_set is not None:
        _measure(read, report.eval_set)
        report.eval_set.notes.clear()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
