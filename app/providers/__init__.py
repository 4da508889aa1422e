"""The outside world: the only place that sees what the sources send.

A new source is one new module here that defines SOURCE; see source.py.
"""
