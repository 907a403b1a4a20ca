"""Every error becomes a kind, a sentence and a hint."""

from __future__ import annotations

import errno
import json

import pyarrow
import pytest
import torch
from huggingface_hub.errors import OfflineModeIsEnabled
from safetensors import SafetensorError

from tasks.errors import (
    ConfigurationError,
    DatasetError,
    Diverged,
    GatedModel,
    ModelError,
    ModelNotFound,
    report,
)
from trainyard.contract.errors import ErrorKind


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (DatasetError("No such data set: 'x'", "Check it."), ErrorKind.DATASET, "No such data set"),
        (ModelError("No such model"), ErrorKind.MODEL, "No such model"),
        (ConfigurationError("Not this"), ErrorKind.CONFIGURATION, "Not this"),
        (Diverged("loss is nan"), ErrorKind.DIVERGED, "loss is nan"),
        (torch.OutOfMemoryError("CUDA out of memory."), ErrorKind.OUT_OF_MEMORY, "The GPU's"),
        (MemoryError(), ErrorKind.OUT_OF_MEMORY, "The machine's"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
            ErrorKind.OUT_OF_MEMORY,
            "The machine's",
        ),
        (OSError(errno.ENOSPC, "No space left", "/var/x"), ErrorKind.DISK_FULL, "writing /var/x"),
        (
            SafetensorError("I/O error: No space left on device (os error 28)"),
            ErrorKind.DISK_FULL,
            "disk is full",
        ),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), ErrorKind.OUT_OF_MEMORY, "The machine's"),
        (GatedModel("It is gated"), ErrorKind.GATED_MODEL, "It is gated"),
        (ModelNotFound("No such model"), ErrorKind.MODEL_NOT_FOUND, "No such model"),
        (SafetensorError("InvalidHeader"), ErrorKind.MODEL, "InvalidHeader"),
        (pyarrow.ArrowInvalid("bad column"), ErrorKind.DATASET, "bad column"),
        (OfflineModeIsEnabled("offline"), ErrorKind.MODEL, "could not be reached"),
        (KeyError("text"), ErrorKind.INTERNAL, "Unexpected KeyError"),
    ],
)
def test_errors_are_classified(error: Exception, kind: ErrorKind, said: str) -> None:
    found = report(error)
    assert found.kind is kind
    assert said in found.message
    assert found.hint
    assert type(error).__name__ in found.exception


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ErrorKind.DISK_FULL),
        (MemoryError(), ErrorKind.OUT_OF_MEMORY),
    ],
)
def test_what_full_memory_or_a_full_disk_broke_is_not_what_is_wrong(
    cause: Exception, kind: ErrorKind
) -> None:
    error = DatasetError("The data set cannot be read.", "Check its rows.")
    error.__cause__ = cause
    assert report(error).kind is kind


def test_a_cause_decides_and_the_frames_are_kept() -> None:
    def fails() -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("saving failed") from error

    try:
        fails()
    except RuntimeError as error:
        found = report(error)
    assert found.kind is ErrorKind.DISK_FULL
    assert found.frames[-1].function == "fails"
    assert "raise RuntimeError" in found.frames[-1].code


def test_what_was_left_behind_on_purpose_does_not_decide() -> None:
    try:
        try:
            raise MemoryError
        except MemoryError:
            raise KeyError("x") from None
    except KeyError as error:
        assert report(error).kind is ErrorKind.INTERNAL


def test_half_a_surrogate_pair_in_an_error_is_shown_as_its_escape() -> None:
    found = report(ValueError("bad row: \ud83d"))
    assert "bad row: \\ud83d" in found.message
    assert "bad row: \\ud83d" in json.loads(found.model_dump_json())["exception"]


def test_a_mend_with_a_data_set_s_own_names_is_bounded_and_storable() -> None:
    found = report(DatasetError("No usable column.", "As in \ud800" + "x" * 1_000_000))
    assert len(found.hint) <= 2000
    assert found.hint.startswith("As in \\ud800x")
    assert found.hint.endswith("…")


def test_a_long_message_is_one_bounded_line() -> None:
    found = report(ValueError("a\nb " * 10_000))
    assert "\n" not in found.message
    assert len(found.message) <= 1000
