"""Everything between the backend and the workers, in both directions."""
