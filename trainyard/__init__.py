"""Trainyard: fine-tuning jobs on the GPUs that a team already owns.

Importing it loads nothing else.
"""

__version__ = "0.1.0"
