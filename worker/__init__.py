"""The runtime of one GPU slot. Imports no torch."""
