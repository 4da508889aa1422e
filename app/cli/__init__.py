"""The commands of ``python -m app``: each a module that imports what it alone needs."""
