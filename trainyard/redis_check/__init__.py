"""Check of a Redis: whether it can hold the jobs, tried by both clients."""
