"""How large a request may be, by whichever way it comes."""

from __future__ import annotations


def too_large(limit_mb: float) -> str:
    """The sentence for a request beyond the limit."""
    return f"the request is larger than {limit_mb:g} MB (MAX_REQUEST_MB)"
