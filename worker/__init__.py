"""Runtime of one GPU slot. Imports no torch."""
