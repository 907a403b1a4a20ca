"""Findings about this machine: packages, settings that nobody reads, disk, memory, GPU, driver."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import psutil
import pynvml
from packaging.requirements import Requirement

from trainyard import __version__
from trainyard.contract.units import GB
from trainyard.local.diagnosis.finding import Finding
from trainyard.local.old_names import unread_names
from trainyard.service import cuda_driver
from trainyard.settings import Settings

DISK_LOW_GB, DISK_FULL_GB = 20.0, 2.0


def machine_findings(settings: Settings) -> list[Finding]:
    return [*_names(), *_versions(), *_disk(settings), *_gpus()]


def _names() -> Iterator[Finding]:
    for sentence in unread_names(os.environ):
        yield Finding("settings", "warning", sentence, "Set that, and take the old name away.")


def _versions() -> Iterator[Finding]:
    wrong = []
    for text in metadata.requires("trainyard") or ():
        requirement = Requirement(text)
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            continue  # the bridge needs no torch, and nothing at work needs the tests' packages
        if found.partition("+")[0] not in requirement.specifier:
            wrong.append(f"{requirement.name} is {found}, not {requirement.specifier}")
    version = f"Trainyard {__version__}, Python {platform.python_version()}"
    if wrong:
        mend = "Run `make setup`."
        yield Finding("versions", "warning", f"{version}; {'; '.join(wrong)}.", mend)
    else:
        yield Finding("versions", "ok", f"{version} and every package in its range.")


def _disk(settings: Settings) -> Iterator[Finding]:
    home = settings.trainyard_home
    place = next(path for path in (home, *home.parents) if path.exists())
    free_gb = shutil.disk_usage(place).free / GB
    sentence = f"{free_gb:.1f} GB are free for {home}."
    mend = "Make room: `trainyard prune`, save_total_limit in requests, or another TRAINYARD_HOME."
    if free_gb < DISK_FULL_GB:
        yield Finding("disk", "failure", sentence, mend)
    elif free_gb < DISK_LOW_GB:
        yield Finding("disk", "warning", sentence, mend)
    else:
        yield Finding("disk", "ok", sentence)
    memory = psutil.virtual_memory()
    yield Finding(
        "memory", "ok", f"{memory.available / GB:.1f} of {memory.total / GB:.1f} GB are free."
    )


def _gpus() -> Iterator[Finding]:
    if not cuda_driver.has_torch():
        yield Finding("gpu", "ok", "Nothing trains here: this installation has no torch.")
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if not _has_nvidia_hardware():
            yield Finding("gpu", "ok", "This machine has no NVIDIA GPU: jobs train on its CPU.")
            return
        mend = (
            "Install the driver, or load it (nvidia-smi should list the GPU); in a container see "
            "docs/how-to/gpu-in-docker.md."
        )
        yield Finding("gpu", "failure", f"There is a GPU and no working driver: {error}.", mend)
        return
    try:
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        yield from _driver(driver)
        for number in range(pynvml.nvmlDeviceGetCount()):
            yield _gpu(number, driver)
    finally:
        pynvml.nvmlShutdown()


def _driver(driver: str) -> Iterator[Finding]:
    cuda = cuda_driver.torch_cuda()
    if cuda is None:
        sentence = "There is a GPU, and torch is a build without CUDA."
        mend = "Install a build of torch with CUDA (`make setup`; in Docker TORCH_BUILD=cuda)."
        yield Finding("driver", "failure", sentence, mend)
    elif int(driver.partition(".")[0]) < (oldest := cuda_driver.oldest_driver(cuda)):
        sentence = f"The driver {driver} is too old for the CUDA {cuda} that torch was built for."
        mend = f"Update it to {oldest} or later, or install torch for an older CUDA (TORCH_BUILD)."
        yield Finding("driver", "failure", sentence, mend)


def _gpu(number: int, driver: str) -> Finding:
    handle = pynvml.nvmlDeviceGetHandleByIndex(number)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    name = pynvml.nvmlDeviceGetName(handle)
    free_gb, total_gb = int(memory.free) / GB, int(memory.total) / GB
    sentence = f"{name}, driver {driver}: {free_gb:.1f} of {total_gb:.1f} GB free."
    return Finding("gpu", "ok", sentence)


def _has_nvidia_hardware() -> bool:
    vendors = Path("/sys/bus/pci/devices").glob("*/vendor")
    classes = (path.with_name("class") for path in vendors if path.read_text().strip() == "0x10de")
    return any(path.read_text().startswith("0x03") for path in classes)  # a display controller
