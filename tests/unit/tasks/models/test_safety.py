"""What a model's own files may not make the libraries do, refused before anything is loaded."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from transformers.integrations import hub_kernels

from tasks.errors import ModelError
from tasks.methods.rewards import load_reward_model
from tasks.models.load import load_config, load_model, load_tokenizer
from tasks.models.safety import check_model_files, check_tokenizer_files, forbid_hub_kernels
from trainyard.contract.config import JobConfig

CONFIG = JobConfig.model_validate({"model": {"name": "named"}})
MODULE = """
open({mark!r}, "w").close()
from transformers import LlamaConfig
class Theirs(LlamaConfig):
    model_type = "theirs"
"""


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "named"))


@pytest.fixture(autouse=True)
def kernels_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_kernels, "get_kernel_hub", None, raising=False)


def change(path: Path, **values: Any) -> None:
    """Set ``values`` in the JSON object in ``path``."""
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**before, **values}))


def test_a_plain_model_passes(folder: Path) -> None:
    check_model_files(folder, "named", trust_remote_code=False)
    check_tokenizer_files(folder, "named")
    assert load_config(folder, "named", False).model_type == "llama"


@pytest.mark.parametrize(
    "values",
    [
        {"_attn_implementation": "somebody/attention"},
        {"text_config": {"attn_implementation": "kernels-community/flash-attn2@v1:forward"}},
        {"attn_implementation": {"text_config": "somebody/attention"}},
        {"parts": [{"_experts_implementation": "somebody/experts"}]},
        {"attn_implementation": {"text_config": ["paged|somebody/attention"]}},
    ],
    ids=str,
)
@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_kernels_of_a_hub_are_refused_wherever_they_are_named(
    folder: Path, file: str, values: dict[str, Any]
) -> None:
    change(folder / file, **values)
    with pytest.raises(ModelError, match="names code of a hub"):
        check_model_files(folder, "named", trust_remote_code=False)
    check_model_files(folder, "named", trust_remote_code=True)


def test_no_kernel_is_fetched_in_the_name_of_a_library(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where the package is installed: a missing flash-attn, mxfp4 and others ask it for kernels.
    package = ModuleType("kernels")
    package.get_kernel = lambda *_, **__: pytest.fail("fetched")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kernels", package)
    monkeypatch.setattr(hub_kernels, "is_kernels_available", lambda: True)
    monkeypatch.setattr(hub_kernels, "get_kernel_hub", package.get_kernel, raising=False)
    load_config(folder, "named", True)
    assert hub_kernels.get_kernel_hub is package.get_kernel
    load_config(folder, "named", False)
    for ask in (hub_kernels.get_kernel, package.get_kernel):
        with pytest.raises(ModelError, match="'kernels-community/mra' names code of a hub"):
            ask("kernels-community/mra", version=1)
    forbid_hub_kernels()  # a second time is no harm


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("../other/model.safetensors", "outside of its folder"),
        ("/srv/other/model.safetensors", "outside of its folder"),
        ("model.bin", "pickled weights are refused"),
    ],
)
def test_an_index_names_safetensors_of_its_folder_alone(
    folder: Path, file: str, said: str, trusted: bool
) -> None:
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = folder / "model.safetensors.index.json"
    change(index, metadata={}, weight_map={"a": "model-1.safetensors"})
    check_model_files(folder, "named", trust_remote_code=trusted)
    change(index, weight_map={"a": "model-1.safetensors", "b": file})
    with pytest.raises(ModelError, match=said):
        check_model_files(folder, "named", trust_remote_code=trusted)


@pytest.mark.parametrize("file", ["adapter_model.bin", "../x.safetensors", 7])
def test_the_configuration_chooses_no_other_weights(folder: Path, file: Any) -> None:
    change(folder / "config.json", transformers_weights="model.safetensors")
    check_model_files(folder, "named", trust_remote_code=False)
    change(folder / "config.json", transformers_weights=file)
    with pytest.raises(ModelError, match="named"):
        load_config(folder, "named", False)


@pytest.mark.parametrize("whole", [True, False])
def test_an_adapter_leads_to_no_other_model(folder: Path, tiny_model: Path, whole: bool) -> None:
    change(
        folder / "adapter_config.json", base_model_name_or_path=str(tiny_model), peft_type="LORA"
    )
    if not whole:
        (folder / "config.json").unlink()
    with pytest.raises(ModelError, match="is a PEFT adapter"):
        load_config(folder, "named", True)
    with pytest.raises(ModelError, match="is a PEFT adapter"):
        load_reward_model(folder, "named", "float32")
    check_tokenizer_files(folder, "named")  # an adapter's tokenizer is one like others


@pytest.mark.parametrize("key", ["spm_file", "gguf_file", "vocab_file"])
@pytest.mark.parametrize("file", ["../../secret.txt", "/etc/hostname"])
def test_a_tokenizer_reads_nothing_outside_of_its_folder(folder: Path, key: str, file: str) -> None:
    change(folder / "tokenizer_config.json", **{key: file})
    with pytest.raises(ModelError, match="outside of its folder"):
        load_tokenizer(folder, CONFIG, False)


def test_code_beside_a_model_does_not_run(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "it_ran"
    for module in ("theirs.py", "custom_generate/generate.py"):
        (folder / module).parent.mkdir(exist_ok=True)
        (folder / module).write_text(MODULE.format(mark=str(mark)))
    kinds = ("AutoConfig", "AutoModelForCausalLM", "AutoModelForSequenceClassification")
    names = dict.fromkeys(kinds, "theirs.Theirs")
    change(folder / "config.json", auto_map=names)
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "theirs.Theirs"]})
    # The architecture is one that transformers has: its own code is used.
    assert load_config(folder, "named", False).model_type == "llama"
    assert load_tokenizer(folder, CONFIG, False).eos_token == "<eos>"
    arguments: dict[str, Any] = {"dtype": "float32", "quantization": None, "attention": None}
    model = load_model(folder, CONFIG, **arguments, trust_remote_code=False)
    assert type(model).__module__.startswith("transformers.")
    change(folder / "config.json", model_type="theirs")
    with pytest.raises(ModelError, match="code of its own"):
        load_config(folder, "named", False)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_reward_model(folder, "named", "float32")
    assert not mark.exists()


@pytest.mark.parametrize(
    "template", ["{% include '/etc/hostname' %}", "{{ messages.__class__.__mro__ }}"]
)
def test_a_chat_template_reads_no_file_and_reaches_no_class(folder: Path, template: str) -> None:
    from tasks.datasets.shapes.problems import RowProblem
    from tasks.datasets.tokens.render import chat_texts

    (folder / "chat_template.jinja").write_text(template)
    tokenizer = load_tokenizer(folder, CONFIG, False)
    assert tokenizer.chat_template == template
    [found] = chat_texts(tokenizer, [[{"role": "user", "content": "x"}]], prompt=True)
    assert isinstance(found, RowProblem), found


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_what_is_no_json_object_is_said(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"config\.json of the model 'named'"):
        load_config(folder, "named", False)
