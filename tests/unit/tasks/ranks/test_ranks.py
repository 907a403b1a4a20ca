"""What several processes of one training ask for, and what one alone notices of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import Any

import pytest

from tasks.channel import SocketChannel
from tasks.errors import ConfigurationError, Paused, Stopped
from tasks.ranks.channel import RankChannel
from tasks.ranks.launch import check_room
from tasks.ranks.output import RankOutput
from tasks.ranks.ranks import ALONE, Ranks
from tasks.runner import use_one_gpu
from trainyard.contract.config import JobConfig
from trainyard.contract.events import Held
from trainyard.contract.parser import parse_request
from trainyard.contract.request import RequestInvalid

EVENTS = 5000
FORKS_A_RANK = """
import os, sys
from tasks.channel import SocketChannel
from trainyard.contract.events import Held

channel = SocketChannel(int(sys.argv[1]))
if rank := os.fork():
    channel.forget()
    sys.exit(os.waitpid(rank, 0)[1])
channel.start()
for step in range(int(sys.argv[2])):
    channel.send(Held(step=step))
channel.finish()
os._exit(0)
"""


def training(distributed: Any) -> Any:
    body = {
        "job_token": "t",
        "dataset_path": "a.jsonl",
        "config": {"model": {"name": "m"}, "training": {"distributed": distributed}},
    }
    return parse_request(body).config.training


def test_one_process_is_the_default() -> None:
    assert JobConfig.model_validate({"model": {"name": "m"}}).training.processes == 1
    assert training(None).processes == 1
    assert training({"processes": 64}).processes == 64


@pytest.mark.parametrize(
    ("distributed", "path", "said"),
    [
        ({"processes": 0}, "processes", "greater than or equal to 1"),
        ({"processes": 65}, "processes", "less than or equal to 64"),
        ({"processes": True}, "processes", "number"),
        ({"processes": 2, "strategy": "magic"}, "strategy", "'ddp'"),
    ],
)
def test_what_cannot_be_is_refused(distributed: Any, path: str, said: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        training(distributed)
    [problem] = caught.value.problems
    assert problem.path == f"config.training.distributed.{path}"
    assert said in problem.message


@pytest.mark.parametrize(
    ("gpus", "cores", "said"), [(2, 64, "4, .* 2 GPUs"), (1, 64, "1 GPU[.]"), (0, 3, "3 CPU cores")]
)
def test_both_numbers_are_named_where_there_is_no_room(gpus: int, cores: int, said: str) -> None:
    check_room(gpus or cores, gpus=gpus, cores=cores)
    with pytest.raises(ConfigurationError, match=said):
        check_room(4, gpus=gpus, cores=cores)


def test_one_process_sees_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    use_one_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-a"
    use_one_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-a"


def test_a_process_alone_agrees_with_itself() -> None:
    assert ALONE.is_first
    assert ALONE.from_first(lambda: 3) == 3
    assert ALONE.flags_of_first([True, False]) == [True, False]
    assert ALONE.sum(2.5) == 2.5


def test_each_rank_has_files_of_its_own() -> None:
    assert Ranks(0, 2).file_name("receipt.json") == "receipt.json"
    assert Ranks(1, 2).file_name("receipt.json") == "receipt-1.json"


def test_a_command_counts_from_the_next_common_point_on() -> None:
    ours, theirs = socket.socketpair()
    supervised = SocketChannel(theirs.detach())
    shared = RankChannel(ALONE, supervised)
    supervised.pause_requested.set()
    assert not shared.pause_requested.is_set()
    shared.agree()
    assert shared.pause_requested.is_set()
    with pytest.raises(Paused):
        shared.raise_if_asked_to_stop()
    supervised.cancel_requested.set()
    with pytest.raises(Paused):
        shared.raise_if_asked_to_stop()
    shared.agree()
    with pytest.raises(Stopped):
        shared.raise_if_asked_to_stop()
    supervised.close()
    ours.close()


def test_a_rank_says_its_name_before_each_line(capfd: pytest.CaptureFixture[str]) -> None:
    output = RankOutput(3)
    output.start()
    for index in (1, 2):
        pid = os.fork()
        if pid == 0:
            output.connect(index)
            os.write(1, b"one\ntwo")
            os.write(2, b" halves\nno end")
            os._exit(0)
        os.waitpid(pid, 0)
    output.finish()
    lines = capfd.readouterr().out.splitlines()
    assert sorted(lines) == [
        f"[rank {index}] {text}" for index in (1, 2) for text in ("no end", "one", "two halves")
    ]


def test_an_endless_line_of_a_rank_is_broken_between_words(
    capfd: pytest.CaptureFixture[str],
) -> None:
    secrets = 10_000
    output = RankOutput(2)
    output.start()
    pid = os.fork()
    if pid == 0:
        output.connect(1)
        printed = b"known-value-0123456789 " * secrets
        while printed:
            printed = printed[os.write(1, printed) :]
        os._exit(0)
    os.waitpid(pid, 0)
    output.finish()
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) > 1
    words = [word for line in lines for word in line.removeprefix("[rank 1] ").split()]
    assert words == ["known-value-0123456789"] * secrets


def test_the_first_rank_ends_when_all_that_it_sent_is_written() -> None:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-c", FORKS_A_RANK, str(theirs.fileno()), str(EVENTS)]
    with (
        ours,
        ours.makefile("rb") as lines,
        theirs,
        subprocess.Popen(command, pass_fds=[theirs.fileno()]) as launcher,
    ):
        theirs.close()
        steps = [Held.model_validate_json(line).step for line in lines]
    assert (launcher.returncode, steps) == (0, list(range(EVENTS)))
