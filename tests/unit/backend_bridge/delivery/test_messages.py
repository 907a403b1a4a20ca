"""What goes out of an entry, byte for byte the same at every try."""

from __future__ import annotations

import pytest

from backend_bridge.delivery.messages import BackendMessage
from backend_bridge.delivery.points import points_message
from trainyard.store.delivery_state import DeliveryProgress
from trainyard.store.event_log import Entry


def point(**data: str) -> BackendMessage:
    fields = ", ".join(f'"{name}": {value}' for name, value in data.items())
    told = {"kind": "metric", "attempt": "1", "sequence": "3", "data": f"{{{fields}}}"}
    entry = Entry("1800000000000-0", told)
    return points_message("job-1", [entry], DeliveryProgress(), may_plan=True)


@pytest.mark.parametrize("name", ["perplexity", "eval_perplexity"])
def test_the_eval_perplexity_goes_out_under_both_of_its_names(name: str) -> None:
    message = point(step="3", epoch="1.5", **{name: "4.0"})
    assert (message.endpoint, message.key) == ("metrics", "job-1:1:3")
    assert message.body == {"step": 3, "epoch": 1, "perplexity": 4.0, "eval_perplexity": 4.0}


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_a_value_that_is_not_finite_makes_no_message(value: str) -> None:
    with pytest.raises(ValueError, match="train_loss"):
        point(step="1", epoch="0.5", train_loss=value)
