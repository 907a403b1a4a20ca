"""Arguments of a training on machines that a test describes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tasks.arguments.adaptation import Context
from tasks.arguments.build import Arguments, build_arguments
from tasks.arguments.machine import Machine
from trainyard.contract.config import JobConfig

CPU = Machine(cuda=False, bf16=False, cores=2, bitsandbytes=False, device_name="CPU")
GPU = Machine(cuda=True, bf16=True, cores=16, bitsandbytes=True, device_name="H200")
OLD_GPU = dataclasses.replace(GPU, bf16=False, bitsandbytes=False)


def arguments_on(
    machine: Machine, training: Mapping[str, Any], *, has_eval: bool = False, **sections: Any
) -> Arguments:
    """What becomes of ``training`` and the config's other ``sections`` there."""
    body = {"model": {"name": "m"}, "training": dict(training), **sections}
    context = Context(JobConfig.model_validate(body), machine, max_length=512, has_eval=has_eval)
    return build_arguments(context, output_dir="out", eval_on_start=False)
