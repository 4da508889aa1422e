"""How the image starts the api, read from the Dockerfile: tests and benchmarks run what is shipped."""

import json
import re
from pathlib import Path

_LINES = (Path(__file__).parent.parent / "Dockerfile").read_text()
(_COMMAND,) = re.findall(r"^CMD (\[.+\])$", _LINES, re.MULTILINE)

UVICORN_VARIABLES = dict(re.findall(r"(UVICORN_\w+)=(\S+)", _LINES))


def api_command(port: int) -> list[str]:
    """What follows ``python -m``: the image's command, on this port and for this machine alone."""
    # Of an option that is given twice the later one counts.
    return [*json.loads(_COMMAND), "--host", "127.0.0.1", "--port", str(port)]
