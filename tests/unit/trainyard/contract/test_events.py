"""The kinds of events: one record each, of a model that a training may send."""

from __future__ import annotations

import dataclasses
from typing import get_args

from trainyard.contract.events import EVENT_KINDS, AnyEvent
from trainyard.store.job import Job


def test_every_event_of_a_training_has_its_kind() -> None:
    models = {name: kind.model for name, kind in EVENT_KINDS.items() if kind.model}
    assert set(models.values()) == set(get_args(get_args(AnyEvent)[0]))
    assert all(model.model_fields["event"].default == name for name, model in models.items())


def test_what_a_kind_says_of_itself_can_be() -> None:
    fields = {field.name for field in dataclasses.fields(Job)}
    for kind in EVENT_KINDS.values():
        assert kind.stored or not kind.lane, "the backend is told from the stream"
        assert not kind.field or kind.field in fields
