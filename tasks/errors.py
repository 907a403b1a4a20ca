"""Errors of the training, and how any error becomes a report that a person can act on.

    TrainingError            base: a kind, one clear sentence, the mend
     ├ DatasetError          the data set is missing, unreadable or lacks what the method needs
     ├ ModelError            the model or tokenizer is refused or cannot be loaded
     │  ├ ModelNotFound      neither a folder nor the hub has it
     │  └ GatedModel         the hub wants its licence accepted first
     ├ ConfigurationError    the request asks for what cannot be done
     ├ DeviceUnusable        the slot should have a GPU, and torch cannot use it
     ├ Diverged              the loss or the gradient norm stopped being finite
     ├ ResultRefused         the saved model, loaded again, is not the one that was trained
     └ ResumeMismatch        a resume does not go on from what the pause left

    Stopped (Interruption)   a person asked for the training to end
    Paused (Interruption)    a person asked for the training to rest

Libraries' errors are recognised in :func:`report` by class name and text, so that this module
imports none of them.
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator

from trainyard.contract.error_tree import Interruption, TrainyardError
from trainyard.contract.errors import ERROR_HINTS, ErrorKind, ErrorReport, Frame
from trainyard.durable_files import RESERVED

FRAMES_KEPT = 50
MESSAGE_CHARACTERS_KEPT = 1000
HINT_CHARACTERS_KEPT = 2000


class TrainingError(TrainyardError):
    """Base of the errors that the training raises itself: a TrainyardError of a ``kind``."""

    kind = ErrorKind.INTERNAL


class DatasetError(TrainingError):
    """The data set is missing, unreadable, or lacks what the method needs."""

    kind = ErrorKind.DATASET


class ModelError(TrainingError):
    """The model or its tokenizer is missing, refused, or cannot be loaded."""

    kind = ErrorKind.MODEL


class ModelNotFound(ModelError):
    """Neither a folder of ours nor the hub has the model."""

    kind = ErrorKind.MODEL_NOT_FOUND


class GatedModel(ModelError):
    """The hub has the model, and gives it to nobody who has not accepted its licence."""

    kind = ErrorKind.GATED_MODEL


class ConfigurationError(TrainingError):
    """The request asks for something that cannot be done here, or not at all."""

    kind = ErrorKind.CONFIGURATION


class DeviceUnusable(TrainingError):
    """The slot should have a GPU, and torch cannot use it: nothing trains on the CPU in silence."""

    kind = ErrorKind.DEVICE


class Diverged(TrainingError):
    """The loss, the gradient norm or a weight is no finite number any more."""

    kind = ErrorKind.DIVERGED


class ResumeMismatch(TrainingError):
    """What a resume would go on from is not what the pause left; the text names the fields."""


class Stopped(Interruption):
    """A cancel was asked for; unwinds the training outside of its step loop. Not an error."""


class Paused(Interruption):
    """A pause was asked for; unwinds the training if it does not wait parked. Not an error.

    ``checkpoint`` (relative to the job folder) and ``step`` are what to go on from; None and 0
    if it was raised before this attempt made a step.
    """

    def __init__(self, checkpoint: str | None = None, step: int = 0) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.step = step


def report(error: BaseException) -> ErrorReport:
    """Classify ``error``; the first cause in its chain that is understood decides.

    Full memory and a full disk decide wherever they stand in it: whatever was being done failed
    because of them.
    """
    causes = list(_chain(error))
    for recognisers in ((_out_of_memory, _disk_full), (_device,), (_own, _hub, _weights, _arrow)):
        for cause in causes:
            for recognise in recognisers:
                found = recognise(cause)
                if found is not None:
                    return _with_traceback(found, error)
    sentence = f"Unexpected {type(error).__name__} in the training: {error}"
    return _with_traceback(_found(ErrorKind.INTERNAL, sentence), error)


def _found(kind: ErrorKind, message: str, hint: str = "") -> ErrorReport:
    mend = _storable(hint or ERROR_HINTS[kind])  # with names out of a data set, perhaps
    if len(mend) > HINT_CHARACTERS_KEPT:
        mend = mend[: HINT_CHARACTERS_KEPT - 1] + "…"
    return ErrorReport(kind=kind, message=_sentence(message), hint=mend)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        hidden = current.__suppress_context__
        current = current.__cause__ or (None if hidden else current.__context__)


def _with_traceback(found: ErrorReport, error: BaseException) -> ErrorReport:
    frames = [
        Frame(
            file=_storable(entry.filename),
            line=entry.lineno or 0,
            function=entry.name,
            code=_storable(entry.line or ""),
        )
        for entry in traceback.extract_tb(error.__traceback__)[-FRAMES_KEPT:]
    ]
    text = "".join(traceback.format_exception_only(error)).strip()
    return found.model_copy(update={"frames": frames, "exception": _sentence(text)})


def _storable(text: str) -> str:
    """Half of a surrogate pair, of broken data or a file's name, as its escape: JSON takes none."""
    return text.encode(errors="backslashreplace").decode()


def _sentence(text: str) -> str:
    flat = " ".join(_storable(text).split())
    if len(flat) <= MESSAGE_CHARACTERS_KEPT:
        return flat
    return flat[: MESSAGE_CHARACTERS_KEPT - 1] + "…"


def _has_base(error: BaseException, *names: str) -> bool:
    return any(base.__name__ in names for base in type(error).__mro__)


def _own(error: BaseException) -> ErrorReport | None:
    if not isinstance(error, TrainingError):
        return None
    return _found(error.kind, error.sentence, error.mend)


def _out_of_memory(error: BaseException) -> ErrorReport | None:
    if isinstance(error, TrainingError):
        return _own(error) if error.kind is ErrorKind.OUT_OF_MEMORY else None
    text = str(error)
    on_gpu = _has_base(error, "OutOfMemoryError") or any(
        sign in text for sign in ("CUDA out of memory", "CUDA error: out of memory", "ALLOC_FAILED")
    )
    on_host = (
        isinstance(error, MemoryError)
        or "can't allocate memory" in text
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    )
    if not (on_gpu or on_host):
        return None
    where = "The GPU's" if on_gpu else "The machine's"
    return _found(
        ErrorKind.OUT_OF_MEMORY,
        f"{where} memory is too small for this model, batch and sequence length.",
    )


_DEVICE_SIGNS = (
    "GPU is lost",
    "uncorrectable ECC",
    "no CUDA-capable device",
    "CUDA-capable device(s) is/are busy or unavailable",
    "CUDA driver version is insufficient",
    "CUDA unknown error",
    "CUDA error: unknown error",
    "Found no NVIDIA driver",
    "NVIDIA driver on your system is too old",
)
"""Of a GPU that is of no use to anybody, as CUDA and torch say it."""


def _device(error: BaseException) -> ErrorReport | None:
    if not isinstance(error, RuntimeError) or not any(s in str(error) for s in _DEVICE_SIGNS):
        return None
    return _found(ErrorKind.DEVICE, f"The GPU cannot be used: {str(error).splitlines()[0]}")


def _disk_full(error: BaseException) -> ErrorReport | None:
    by_number = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    # safetensors and torch wrap the operating system's error in their own, as text.
    if not by_number and not any(
        sign in str(error) for sign in ("No space left on device", "os error 28", "os error 122")
    ):
        return None
    where = getattr(error, "filename", None)
    place = f" while writing {where}" if where else ""
    but = f": {RESERVED}" if RESERVED in str(error) else ""
    return _found(ErrorKind.DISK_FULL, f"The disk is full{place}{but}.")


def _hub(error: BaseException) -> ErrorReport | None:
    if _has_base(error, "GatedRepoError"):
        return _found(
            ErrorKind.GATED_MODEL,
            "The model is gated at the Hugging Face hub and this worker has no access to it.",
        )
    if _has_base(error, "RepositoryNotFoundError", "RevisionNotFoundError", "EntryNotFoundError"):
        return _found(
            ErrorKind.MODEL_NOT_FOUND, "The Hugging Face hub has no such model, revision or file."
        )
    if _has_base(error, "HfHubHTTPError", "OfflineModeIsEnabled"):
        return _found(
            ErrorKind.MODEL,
            f"The Hugging Face hub could not be reached: {error}",
            "Try again later, or put the model's folder under MODEL_ROOTS.",
        )
    return None


def _weights(error: BaseException) -> ErrorReport | None:
    if _has_base(error, "SafetensorError"):
        return _found(ErrorKind.MODEL, f"A file of weights cannot be read: {error}")
    return None


def _arrow(error: BaseException) -> ErrorReport | None:
    if _has_base(error, "ArrowInvalid", "DatasetGenerationError"):
        return _found(ErrorKind.DATASET, f"The data set cannot be read: {error}")
    return None
