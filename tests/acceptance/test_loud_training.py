"""A real training that prints in every way there is, and dies in native code: all is in its log."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.stack import Stack

pytestmark = pytest.mark.slow
SECRETS = ("hf_abcdefghijklmnopqrstuvwxyz012345", "pa55word99")
MODEL = r"""
import ctypes, logging, os, subprocess, sys, warnings
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM

CHILD = "print('a child speaks', flush=True); import ctypes; ctypes.string_at(0)"

class LoudConfig(LlamaConfig):
    model_type = "loud"

class Loud(LlamaForCausalLM):
    config_class = LoudConfig
    steps = 0

    def __init__(self, config):
        super().__init__(config)
        self.model.register_forward_pre_hook(self.shout)

    def shout(self, *_):
        Loud.steps += self.training
        if self.training and Loud.steps == 2:
            shout()
        if self.training and Loud.steps == 3:
            print("the very last words", end="", flush=True)
            ctypes.string_at(0)

def shout():
    print("by print")
    logging.getLogger("some.library").warning("a library warns")
    logging.getLogger("some.library").error("a library errs\nin two lines")
    warnings.warn("by warnings")
    subprocess.run(["sh", "-c", "echo from a shell; echo its stderr >&2"])
    subprocess.run([sys.executable, "-X", "faulthandler", "-c", CHILD])
    subprocess.run([sys.executable, "-c", "import os; os.write(2, b'it aborts\\n'); os.abort()"])
    os.write(1, b"nul \x00 invalid \xff \x1b[31mred\x1b[0m end\n")
    os.write(2, b"x" * 5_000_000 + b"\n")
    os.write(1, b"SECRETS\n")
    for _ in tqdm(range(2000), desc="bar", mininterval=0):
        pass
    print("after all")
"""


@pytest.fixture(scope="module")
def loud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose job ``loud`` has failed, with a backend that was slow and refused a few."""
    caches = str(tmp_path_factory.mktemp("hf"))  # where transformers copies the code
    with Stack(ALLOW_REMOTE_CODE="1", MAX_RESTARTS="0", HF_HOME=caches) as stack:
        folder = stack.models / "tiny"
        said = f"{SECRETS[0]} https://me:{SECRETS[1]}@host/"
        (folder / "loud.py").write_text(MODEL.replace("SECRETS", said))
        config = json.loads((folder / "config.json").read_text())
        classes = {"AutoConfig": "loud.LoudConfig", "AutoModelForCausalLM": "loud.Loud"}
        config |= {"auto_map": classes, "model_type": "loud", "architectures": ["Loud"]}
        (folder / "config.json").write_text(json.dumps(config))
        stack.backend.add_fault(latency_s=1.0, times=2)
        stack.backend.add_fault(status=502, html=True, times=2)
        body = stack.body("loud", steps=6, job_token="tok-of-loud-0123")
        body["config"]["model"]["trust_remote_code"] = True
        stack.backend.create_job("loud", body["job_token"], body["config"])
        stack.bridge.start(body)
        stack.wait("loud", "failed")
        stack.wait_delivered("loud")
        yield stack


def test_whatever_was_printed_is_there_in_order_up_to_the_last_words(loud: Stack) -> None:
    lines = [line[22:] for line in loud.log("loud").splitlines()]
    places = [
        next((n for n, line in enumerate(lines) if line.startswith(said)), None)
        for said in (
            "by print",
            "WARNING a library warns",
            "ERROR a library errs",
            "ERROR in two lines",
            "WARNING UserWarning: by warnings",
            "from a shell",
            "its stderr",
            "a child speaks",
            "Fatal Python error: Segmentation fault",
            "it aborts",
            "nul \\x00 invalid \ufffd red end",
            "x" * 8192 + " [",
            "[4,934,464 more bytes of this line were cut]",
            "[redacted] https://[redacted]@host/",
            "bar: 100%",
            "after all",
            "the very last wordsFatal Python error: Segmentation fault",
        )
    ]
    assert None not in places, (places, lines)
    assert places == sorted(map(int, filter(None, places)))
    assert any("loud.py" in line and "in shout" in line for line in lines[places[-1] or 0 :])
    assert len([line for line in lines if line.startswith("bar:")]) <= 4


def test_the_backend_has_the_same_lines_and_one_clear_sentence(loud: Stack) -> None:
    assert loud.backend.logs("loud") == loud.log("loud").splitlines()
    assert loud.backend.statuses("loud") == ["running", "failed"]
    assert "SIGSEGV" in loud.backend.status("loud")["error"]


def test_no_secret_that_was_printed_is_in_a_file_or_in_redis(loud: Stack) -> None:
    files = [path for path in loud.home.rglob("*") if path.is_file() and path.name != "loud.py"]
    stored = [
        loud.redis.execute_command("DUMP", k, NEVER_DECODE=True) for k in loud.redis.scan_iter()
    ]
    for secret in map(str.encode, SECRETS):
        assert not [path for path in files if secret in path.read_bytes()]
        assert not [value for value in stored if secret in (value or b"")]
