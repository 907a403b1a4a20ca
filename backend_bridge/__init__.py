"""Bridge between the backend and the workers: requests in, events out."""
