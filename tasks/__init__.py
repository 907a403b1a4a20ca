"""What runs as a Celery task, and what runs in the training process."""
