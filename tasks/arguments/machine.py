"""Machine under a training: its device, and what that can do."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from dataclasses import dataclass, replace

from tasks.errors import DeviceUnusable
from trainyard.contract.rules import LIGER_MIN


@dataclass(frozen=True)
class Machine:
    """The device of one attempt. ``cores`` are those this process may run on; ``liger``:
    the version of its kernels, if they can be used."""

    cuda: bool
    bf16: bool
    cores: int
    bitsandbytes: bool
    device_name: str
    flash_attention: bool = False
    liger: str = ""

    @classmethod
    def here(cls, gpu_expected: str = "") -> Machine:
        """Look at this process's machine; initialises CUDA if there is a GPU.

        ``gpu_expected``: why there must be one, "" if there need not be. Raises DeviceUnusable.
        """
        # Late: the table of settings and its tests need this class without torch.
        import torch  # noqa: PLC0415

        cuda = torch.cuda.is_available()
        if gpu_expected and not cuda:
            raise DeviceUnusable(f"{gpu_expected}, and torch cannot use it: {_why_no_cuda()}")
        return cls(
            cuda=cuda,
            bf16=cuda and torch.cuda.is_bf16_supported(including_emulation=False),
            cores=len(os.sched_getaffinity(0)),
            bitsandbytes=importlib.util.find_spec("bitsandbytes") is not None,
            device_name=torch.cuda.get_device_name() if cuda else "CPU",
            flash_attention=cuda and importlib.util.find_spec("flash_attn") is not None,
            liger=liger_version() if cuda else "",
        )

    def shared_by(self, processes: int) -> Machine:
        """This machine as one of so many processes sees it: with its share of the cores."""
        return replace(self, cores=max(1, self.cores // processes))


def liger_version() -> str:
    """Of the package liger-kernel; "" if it is not installed, or too old."""
    from packaging.version import Version  # noqa: PLC0415 (as above)

    try:
        found = importlib.metadata.version("liger-kernel")
    except importlib.metadata.PackageNotFoundError:
        return ""
    return found if Version(found) >= Version(LIGER_MIN) else ""


def _why_no_cuda() -> str:
    """The first line of what torch says when it is to use CUDA all the same."""
    import torch  # noqa: PLC0415 (as above)

    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever a broken driver raises
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return "it sees no device"
