"""Idle settings: why one that acts outside of the Trainer's arguments has no effect in a job."""

from __future__ import annotations

from tasks.arguments.adaptation import Context


def without_evals(context: Context) -> str:
    """Of what looks at evals; empty if there are any."""
    if not context.has_eval:
        return "there are no rows to evaluate on (data.eval_split)"
    return (
        "no eval is made (training.eval_strategy)" if context.training.eval_strategy == "no" else ""
    )


def without_adapter(context: Context) -> str:
    """Of what shapes an adapter; empty if one is trained."""
    return "" if context.training.use_lora else "training.use_lora is off: all weights are trained"
