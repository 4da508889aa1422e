"""The whole service on one machine with nothing to install: each role a process, started and stopped together."""

import ctypes
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import NoReturn

from app.settings import settings_or_exit

_PROJECT = Path(__file__).parent.parent
_FOLDER = _PROJECT / "var"
_START_SECONDS = 60
_STOP_SECONDS = 20
_LOOK_SECONDS = 0.2
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)

_CELERY = ("celery", "--quiet", "-A", "app.celery_app.celery")
_WORKER = (*_CELERY, "worker", "--concurrency", "2", "--without-gossip", "--without-mingle")
_BEAT = (*_CELERY, "beat")
# As in the image, but for systems that let a process have a thousand files and connections.
_LIMITS = ("--http", "app.api.limits:LimitedHttpProtocol", "--limit-concurrency", "250")
_MEASURED = {"api": 0, "worker": 1, "beat": 2}


def run(port: int) -> int:
    """Runs until Ctrl-C (exit code 0) or until a part ends by itself (1)."""
    sample_port = _free_port()
    _set_defaults(f"http://127.0.0.1:{sample_port}/users")
    metrics_port = settings_or_exit().metrics_port
    _FOLDER.mkdir(exist_ok=True)
    with (_FOLDER / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            _refuse("SynergyWay runs in this folder already: stop it first, or use a second clone.")
        _check_port(port)
        _make_broker()
        return _Roles(metrics_port).run(port, sample_port)


def _set_defaults(sample_url: str) -> None:
    embedded = {
        "DATABASE_URL": f"sqlite+pysqlite:///{_FOLDER / 'synergyway.db'}",
        "CELERY_BROKER_URL": "filesystem://localhost//",
        "CELERY_RESULT_BACKEND": "disabled://",
        "FILESYSTEM_BROKER_DIR": str(_FOLDER / "broker"),
        "USERS_API_URL": sample_url,
        "ADDRESS_API_URL": sample_url,
        "CREDIT_CARD_API_URL": sample_url,
        "METRICS_HOST": "127.0.0.1",
    }
    for name, value in embedded.items():
        os.environ.setdefault(name, value)


def _make_broker() -> None:
    broker = Path(os.environ["FILESYSTEM_BROKER_DIR"])
    for folder in ("queue", "control"):
        (broker / folder).mkdir(parents=True, exist_ok=True)


class _Roles:
    def __init__(self, metrics_port: int) -> None:
        self._metrics_port = metrics_port
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._stopped = threading.Event()

    def run(self, port: int, sample_port: int) -> int:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stopped.set())
        server = ("uvicorn", "--no-access-log", "--log-level", "warning", "--port")
        try:
            self._start("provider", *server, str(sample_port), "app.sample_provider:app")
            subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], cwd=_PROJECT, check=True)  # nosec B603
            self._start("worker", *_WORKER)
            self._start("beat", *_BEAT)
            self._start("api", "uvicorn", *_LIMITS, "--no-server-header", "--port", str(port), "app.main:app")
            if self._wait_for_api(f"http://127.0.0.1:{port}/readyz"):
                print(f"\n  SynergyWay is at http://localhost:{port}/users/ui\n  Ctrl-C stops it.\n", flush=True)
            while not self._stopped.wait(_LOOK_SECONDS):
                if ended := self._ended():
                    print(f"The {ended} has ended: stopping the rest.", file=sys.stderr)
                    return 1
            return 0
        except subprocess.CalledProcessError:
            print("The database could not be prepared: see above.", file=sys.stderr)
            return 1
        finally:
            self._stop()

    def _start(self, role: str, *command: str) -> None:
        # Roles that share a machine cannot share a port.
        port = self._metrics_port and self._metrics_port + _MEASURED.get(role, 0)
        own = {"HEARTBEAT_FILE": str(_FOLDER / f"{role}.heartbeat"), "METRICS_PORT": str(port)}
        environment = os.environ | own
        # A session of its own, so that Ctrl-C reaches this process alone, which then stops them in order.
        self._processes[role] = subprocess.Popen(  # nosec B603
            [sys.executable, "-m", *command],
            cwd=_PROJECT,
            env=environment,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509  # no threads yet
        )

    def _ended(self) -> str | None:
        return next((role for role, process in self._processes.items() if process.poll() is not None), None)

    def _wait_for_api(self, url: str) -> bool:
        for _ in range(int(_START_SECONDS / _LOOK_SECONDS)):
            if self._ended() or self._stopped.wait(_LOOK_SECONDS):
                return False
            try:
                urllib.request.urlopen(url, timeout=2).close()  # noqa: S310  # nosec B310  # our own address
                return True
            except (urllib.error.URLError, OSError):
                continue
        return False

    def _stop(self) -> None:
        running = [process for process in reversed(self._processes.values()) if process.poll() is None]
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        for heartbeat in _FOLDER.glob("*.heartbeat"):
            heartbeat.unlink()
        # What was still queued is in the runs table, from which the next worker publishes it again.
        shutil.rmtree(_FOLDER / "broker", ignore_errors=True)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGTERM)


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            _refuse(f"Port {port} needs rights that you do not have: choose one above 1023, for example PORT=8000.")
        except OverflowError:
            _refuse(f"Port {port} does not exist: choose one from 1024 to 65535, for example PORT=8000.")
        except OSError:
            _refuse(f"Port {port} is taken: choose another one, for example with `make run PORT={port + 1}`.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _refuse(sentence: str) -> NoReturn:
    raise SystemExit(sentence)
