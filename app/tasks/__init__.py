"""The Celery tasks: each a few lines over a service."""
