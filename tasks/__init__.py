"""Celery task of an attempt, and the training process that it is made in."""
