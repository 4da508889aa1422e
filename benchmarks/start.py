"""How long the roles take to start: `import app.main`, and a worker from its command to its first heartbeat."""

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.servers import PROJECT, process

_LONGEST_START_SECONDS = 60
_INTERPRETER = "pass"
_API = "import app.main"


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds, by what is started, one figure a round."""
    return {
        "Python alone": [_import_seconds(_INTERPRETER) for _ in range(rounds)],
        _API: [_import_seconds(_API) for _ in range(rounds)],
        "a worker, to its first heartbeat": [_worker_seconds() for _ in range(rounds)],
    }


def table(seconds: dict[str, list[float]]) -> str:
    """Markdown: medians."""
    lines = ["| start | seconds |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {median(figures):.2f} |" for name, figures in seconds.items())])


def _import_seconds(code: str) -> float:
    start = time.perf_counter()
    environment = os.environ | {"DATABASE_URL": "sqlite://", "LOG_LEVEL": "ERROR"}
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=environment, check=True)
    return time.perf_counter() - start


def _worker_seconds() -> float:
    with TemporaryDirectory() as folder:
        heartbeat = Path(folder, "heartbeat")
        for queue in ("queue", "control"):
            Path(folder, queue).mkdir()
        variables = {
            "DATABASE_URL": f"sqlite:///{folder}/empty.db",
            "CELERY_BROKER_URL": "filesystem://localhost//",
            "CELERY_RESULT_BACKEND": "disabled://",
            "FILESYSTEM_BROKER_DIR": folder,
            "HEARTBEAT_FILE": str(heartbeat),
            "METRICS_PORT": "0",
            "LOG_LEVEL": "CRITICAL",
        }
        command = ("celery", "--quiet", "-A", "app.celery_app.celery", "worker", "--concurrency=1", "--without-mingle")
        start = time.perf_counter()
        with process("the worker", *command, **variables):
            while not heartbeat.exists():
                if time.perf_counter() - start > _LONGEST_START_SECONDS:
                    raise SystemExit(f"the worker did not start within {_LONGEST_START_SECONDS} s")
                time.sleep(0.01)
            return time.perf_counter() - start
