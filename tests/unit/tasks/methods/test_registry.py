"""Every method that the contract names has its trainer, and the page says which."""

from __future__ import annotations

import pytest

from docs.reference.methods import as_markdown
from tasks.methods.registry import TRAINERS, trainer_class
from tests.support.paths import REPOSITORY
from trainyard.contract.config import TrainingConfig
from trainyard.contract.methods import METHODS, Method


def test_the_trainers_are_those_that_the_methods_name() -> None:
    named = [name for how in METHODS.values() for name in how.trainers]
    assert list(TRAINERS) == list(dict.fromkeys(named))


@pytest.mark.parametrize(
    ("name", "how"), [(name, how) for how in METHODS.values() for name in how.trainers]
)
def test_a_request_gets_its_trainer(name: str, how: Method) -> None:
    asked = {"rlhf": {"algorithm": name}} if how.samples_answers else {}
    training = TrainingConfig.model_validate({"method": how.name, **asked})
    assert trainer_class(training) is TRAINERS[name]


def test_the_table_of_methods_is_the_records() -> None:
    assert as_markdown() in (REPOSITORY / "docs/methods.md").read_text()
