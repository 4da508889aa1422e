"""The use cases: plain functions that know neither Celery nor FastAPI."""
