"""What runs inside Celery's own processes."""
