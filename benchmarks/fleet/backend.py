"""Backend of the simulated fleet: takes everything, and notes how old each event is.

    python -m benchmarks.fleet.backend

Prints its address as a JSON line; after the lines ``measure`` and ``stop`` on its input the lags in
between. A server of a few lines, so that the delivery is measured and not the server.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time

_LENGTH = re.compile(rb"(?i)content-length: *(\d+)")
_SENT_AT = re.compile(rb"sent at (\d+\.\d+)")
_BODY = b'{"success": true}'
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(_BODY),
    _BODY,
)


class Lags:
    """Lags of the log lines that came since it was last cleared, in ms."""

    def __init__(self) -> None:
        self.ms: list[float] = []

    def note(self, body: bytes) -> None:
        """Log lines say when they were written, by the machine's monotonic clock."""
        now = time.monotonic()
        self.ms += [1000 * (now - float(at)) for at in _SENT_AT.findall(body)]


async def main() -> None:
    lags = Lags()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                lags.note(await reader.readexactly(int(length[1]) if length else 0))
                writer.write(_ANSWER)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"url": f"http://127.0.0.1:{port}"}), flush=True)
    loop = asyncio.get_running_loop()
    while (word := await loop.run_in_executor(None, sys.stdin.readline)).strip() == "measure":
        lags.ms.clear()
    assert word.strip() == "stop"
    print(json.dumps({"lag_ms": lags.ms}), flush=True)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
