"""Services of this machine, ``trainyard up``: all of them, kept running until Ctrl-C."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import sys
from typing import IO, cast

from rich.console import Console
from rich.table import Table

from trainyard.cli.common import EXIT_INTERRUPTED
from trainyard.cli.output import PatientOutput
from trainyard.contract.error_tree import TrainyardError
from trainyard.local.old_names import unread_names
from trainyard.local.ports import PortTaken, check_free
from trainyard.local.services import Ports, Services, process_of
from trainyard.service.stop_signals import interrupt_on_stop_signals, stop_event
from trainyard.service_logs import Repeated
from trainyard.settings import Settings, settings

logger = logging.getLogger(__name__)
CHECK_EVERY_S = 0.5


class AlreadyUp(TrainyardError):
    """The services of this very home run already."""


def ports_of(current: Settings) -> Ports:
    """The ports that the settings ask for, all of them free. Raises PortTaken, AlreadyUp."""
    own_backend = current.has_development_backend
    needed = {"BRIDGE_PORT": current.bridge_port, "FLOWER_PORT": current.flower_port}
    if own_backend:
        needed["DEV_BACKEND_PORT"] = current.dev_backend_port
    if embedded_port := current.embedded_redis_port if current.redis_url is None else 0:
        needed["EMBEDDED_REDIS_PORT"] = embedded_port
    for (one, port), (other, same) in itertools.combinations(needed.items(), 2):
        if port == same:
            raise PortTaken(f"{one} and {other} are both {port}", "set one of them to another port")
    _check_free(current.bridge_port, "the bridge", "BRIDGE_PORT", current)
    _check_free(current.flower_port, "Flower", "FLOWER_PORT", current)
    if embedded_port:
        check_free(embedded_port, "the embedded Redis", "EMBEDDED_REDIS_PORT, or REDIS_URL")
    if own_backend:
        mend = "DEV_BACKEND_PORT, or BACKEND_URL to your own backend"
        _check_free(current.dev_backend_port, "the development backend", mend, current)
    return Ports(
        bridge=current.bridge_port,
        flower=current.flower_port,
        backend=current.dev_backend_port if own_backend else None,
    )


def _check_free(port: int, service: str, setting: str, current: Settings) -> None:
    try:
        check_free(port, service, setting)
    except PortTaken as error:
        if process := process_of(current.trainyard_home, port):
            url = current.backend_url if current.has_development_backend else current.bridge_url
            said = f"this yard is up already (process {process}), at {url}"
            raise AlreadyUp(said, "open it, or stop that one") from error
        raise


def run() -> int:
    """Exit code 0 after Ctrl-C, SIGTERM or SIGHUP. Nothing that is said can end it or make it wait.

    Raises TrainyardError if a service does not start.
    """
    interrupt_on_stop_signals()
    output, errors = PatientOutput(sys.stdout), PatientOutput(sys.stderr)
    logging.basicConfig(level=logging.WARNING, format="trainyard: %(message)s", stream=errors)
    for handler in logging.getLogger().handlers:
        handler.addFilter(Repeated())
    console = Console(file=cast(IO[str], output))
    try:
        return _run(console)
    finally:
        output.drain()
        errors.drain()


def _run(console: Console) -> int:
    for sentence in unread_names(os.environ):
        logger.warning(sentence)
    with contextlib.ExitStack() as stack:
        try:
            services = Services(ports_of(settings()), {})
            with console.status("Starting ..."):
                stack.enter_context(services)
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED
        _keep_running(services, console)
        console.print(_stopping(services.running()))
    console.print("Stopped.")
    return 0


def _keep_running(services: Services, console: Console) -> None:
    stop = stop_event()
    console.print(_addresses(services))
    console.print("Ctrl-C stops them all.")
    while not stop.wait(CHECK_EVERY_S):
        services.ensure_running()


def _stopping(running: list[str]) -> str:
    if not running:
        return "Stopping ..."
    are = "is" if len(running) == 1 else "are"
    return f"Stopping; {', '.join(running)} {are} put back into the queue ..."


def _addresses(services: Services) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_row("bridge", services.bridge_url, _about_bridge(services))
    what = "the page of your jobs" if services.ports.backend else "your backend"
    table.add_row("backend", services.backend_url, what)
    table.add_row("flower", services.flower_url, "workers and tasks")
    table.add_row("home", str(services.settings.trainyard_home), "jobs, logs, embedded Redis")
    return table


def _about_bridge(services: Services) -> str:
    if services.settings.bridge_api_key is not None:
        return "asks for BRIDGE_API_KEY; API: docs/openapi/bridge.json"
    return f"API: {services.bridge_url}/docs"
