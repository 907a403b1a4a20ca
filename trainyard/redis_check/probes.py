"""Probes of a Redis: every command that the job store and Celery send, tried once on scratch keys.

A user of an access-control list, an old server or a ``rename-command`` lacks one of them, and
nothing shows before a job waits for ever.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

from redis.exceptions import NoPermissionError, RedisError, ResponseError

from trainyard.contract.names import BROKER_PREFIX, QUEUE_REQUESTS
from trainyard.redis_check.troubles import Trouble, trouble_of
from trainyard.store.keys import Key

_SHA_OF_RETURN_1 = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"
_COMMANDS = (
    "PING",
    "INFO",
    "TIME",
    "SET {}s 1 EX 60 NX",
    "GET {}s",
    "INCR {}s",
    "EXISTS {}s",
    "PEXPIRE {}s 60000",
    "HSET {}h field 1",
    "HSETNX {}h field 1",
    "HGET {}h field",
    "HMGET {}h field",
    "HGETALL {}h",
    "HEXISTS {}h field",
    "HINCRBY {}h field 1",
    "HDEL {}h field",
    "ZADD {}z 1 member",
    "ZSCORE {}z member",
    "ZRANK {}z member",
    "ZCARD {}z",
    "ZRANGE {}z 0 -1",
    "ZRANGEBYSCORE {}z 0 1",
    "ZREVRANGEBYSCORE {}z 1 0",
    "ZREM {}z member",
    "SADD {}m member",
    "SMEMBERS {}m",
    "SREM {}m member",
    "LPUSH {}l 1 2 3 4",
    "RPUSH {}l 5",
    "LLEN {}l",
    "LINDEX {}l 0",
    "LRANGE {}l 0 -1",
    "LTRIM {}l 0 3",
    "LREM {}l 1 4",
    "LPOP {}l",
    "RPOP {}l",
    "BRPOP {}l 1",
    "XADD {}x 1-1 field 1",
    "XGROUP CREATE {}x group 0",
    "XREADGROUP GROUP group reader COUNT 1 STREAMS {}x >",
    "XAUTOCLAIM {}x group reader 0 0-0 COUNT 1",
    "XACK {}x group 1-1",
    "XLEN {}x",
    "XRANGE {}x - +",
    "XREVRANGE {}x + -",
    "XTRIM {}x MAXLEN 1",
    "XDEL {}x 1-1",
    "EVAL return 0",
    f"EVALSHA {_SHA_OF_RETURN_1} 0",
    "WATCH {}s",
    "MULTI",
    "EXEC",
    "PUBLISH {}channel 1",
)
_PLACES = (str(Key.PROBE), f"{BROKER_PREFIX}probe", "training:probe", f"{QUEUE_REQUESTS}.probe")
"""The job store's, Celery's, the streams of requests, and the queue of those from outside."""


def troubles_of_commands(client: Any, username: str) -> list[Trouble]:
    """What ``client``, a client of redis-py, may not do or cannot; [] if it can do all."""
    mark = secrets.token_hex(4)
    rules: dict[str, None] = {}
    unknown: list[str] = []
    single = client.client()  # MULTI and what follows it need one connection
    try:
        _try_commands(single, mark, rules, unknown)
        _try_subscriptions(client, mark, rules)
    except RedisError as error:
        return [trouble_of(error)]
    finally:
        single.close()
    return [*_of_rules(username, list(rules)), *_of_unknown(unknown)]


def _try_commands(client: Any, mark: str, rules: dict[str, None], unknown: list[str]) -> None:
    made = [f"{place}:{mark}:{kind}" for place in _PLACES for kind in "shzmlx"]
    commands = [(text, _PLACES[0]) for text in _COMMANDS]
    commands += [("EXISTS {}s", place) for place in _PLACES[1:]]
    for text, place in commands:
        words = [word.replace("{}", f"{place}:{mark}:") for word in text.split()]
        if words[0] == "EVAL":
            words = ["EVAL", "return 1", "0"]
        _tried(client, words, rules, unknown)
    _tried(client, ["DEL", *made], rules, unknown)


def _tried(client: Any, words: list[str], rules: dict[str, None], unknown: list[str]) -> None:
    try:
        client.execute_command(*words)
    except NoPermissionError as error:
        rules[_rule(str(error), words[0])] = None
    except ResponseError as error:
        if "unknown command" in str(error).lower():
            unknown.append(words[0])
        elif trouble_of(error).kind == "passing":
            raise
        # else a consequence: EXEC of a MULTI that was refused


def _try_subscriptions(client: Any, mark: str, rules: dict[str, None]) -> None:
    """Kombu listens by patterns and by names; each answer, or refusal, comes as a message."""
    for subscribe in ("subscribe", "psubscribe"):
        with client.pubsub() as listener:
            try:
                getattr(listener, subscribe)(f"/probe.{mark}")
                listener.get_message(timeout=client.get_connection_kwargs()["socket_timeout"])
            except NoPermissionError as error:
                rules[_rule(str(error), subscribe)] = None


def _rule(said: str, command: str) -> str:
    """The rule of an access-control list that is lacking."""
    if "channel" in said:
        return "&*"
    if found := re.search(r"run the '([^']+)' command", said):
        return f"+{found[1]}"
    return "~*" if "key" in said else f"+{command.lower()}"


def _of_rules(username: str, rules: list[str]) -> list[Trouble]:
    if not rules:
        return []
    shown = " ".join(rules)
    return [
        Trouble(
            f"the user {username} of this Redis lacks rights: {shown}",
            f"ACL SETUSER {username} {shown}, and ACL SAVE (or the same in users.acl)",
        )
    ]


def _of_unknown(commands: list[str]) -> list[Trouble]:
    if not commands:
        return []
    return [
        Trouble(
            f"this Redis knows no {', '.join(commands)}",
            "Redis 6.2 at least is needed, without a rename-command of these in redis.conf",
        )
    ]
