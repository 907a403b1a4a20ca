"""Fixtures of the bridge on a real Redis, as the integration tests have them."""

from __future__ import annotations

from tests.integration import conftest as integration

make_bridge, bridge = integration.make_bridge, integration.bridge
