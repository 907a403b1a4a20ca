"""Development backend: a backend of the contract for people without one, and for the tests.

FastAPI over SQLite, with a page of live curves: ``python -m backend_bridge.dev_backend``.
"""
