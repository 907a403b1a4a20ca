"""Models of the hub: fetched into its cache, without weights that are pickled."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tasks import sealed_secrets
from tasks.errors import GatedModel, ModelNotFound

_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


def fetch(name: str, listed: str, revision: str | None, allow_remote_code: bool) -> Path:
    """The folder of the model in the hub's cache; ``listed``: the folders that lack it.

    Raises ModelError.
    """
    how = {
        "name": name,
        "listed": listed,
        "revision": revision,
        "allow_remote_code": allow_remote_code,
    }
    if sealed_secrets.are_kept():
        return sealed_secrets.path_of(sealed_secrets.fetch({"what": "model", "how": how}))
    return download(name, listed, revision, allow_remote_code)


def download(name: str, listed: str, revision: str | None, allow_remote_code: bool) -> Path:
    """Fetch the model with what is in this process's environment. Raises ModelError."""
    try:
        folder = snapshot_download(
            name,
            revision=revision,
            allow_patterns=[*_FILES, "*.py"] if allow_remote_code else _FILES,
        )
    except GatedRepoError as error:
        raise GatedModel(
            f"The model {name!r} is gated at the Hugging Face hub and this worker has no access."
        ) from error
    except RevisionNotFoundError as error:
        raise ModelNotFound(
            f"The model {name!r} has no revision {revision!r} at the Hugging Face hub.",
            "Check config.model.revision.",
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelNotFound(
            f"No such model: {name!r} is neither under the model folders ({listed}) nor at the "
            "Hugging Face hub.",
            "Check config.model.name; a private model needs HF_TOKEN.",
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise ModelNotFound(
            f"No such model: {name!r} is not under the model folders ({listed}), and it could not "
            "be fetched from the Hugging Face hub, which cannot be reached from this machine.",
            "Put the model's folder under one of MODEL_ROOTS, or give the worker a network.",
        ) from error
    return Path(folder)
