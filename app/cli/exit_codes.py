"""What scripts learn from a command's exit code. README.md lists them."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes; 2 is also what a wrong option or setting ends with."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    SKIPPED = 4
    UNFINISHED = 5
