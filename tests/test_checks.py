"""The project's own checks: that they find what they look for, and say so when they cannot look."""

import json
import subprocess
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.conftest import PROJECT

pytestmark = pytest.mark.lint

BIN = PROJECT / ".venv/lint/bin"
ADVISORY = "GHSA-7777-7777-7777"

Audit = Callable[..., "subprocess.CompletedProcess[str]"]


class _Osv(BaseHTTPRequestHandler):
    """Answers as OSV does, and knows of two versions with a hole."""

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name, version = query["package"]["name"], query["version"]
        known = (name, version) in (("jinja2", "2.4.1"), ("requests", "2.19.0"))
        ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9"}]}]
        advisory = {
            "id": ADVISORY,
            "aliases": [],
            "details": "A hole.",
            "affected": [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": ranges}],
            "published": "2020-01-01T00:00:00Z",
        }
        body = json.dumps({"vulns": [advisory]} if known else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class _Mirror(_Osv):
    """Answers, and knows of nothing."""

    def do_POST(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    servers = []

    def start(handler: type[BaseHTTPRequestHandler]) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/v1/query"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def audit(closed_port: int) -> Audit:
    """Runs the audit with OSV at an address; PyPI's own is out of reach behind a proxy that is none."""

    def run(osv: str | None, *arguments: object) -> subprocess.CompletedProcess[str]:
        nowhere = f"http://127.0.0.1:{closed_port}"
        return subprocess.run(
            [PROJECT / ".ci/audit.sh", BIN, *map(str, arguments)],
            env={"PATH": "/usr/bin:/bin", "OSV_URL": osv or nowhere, "HTTPS_PROXY": nowhere},
            check=False,
            capture_output=True,
            text=True,
        )

    return run


def lock(folder: Path, pin: str) -> Path:
    file = folder / "requirements.lock"
    file.write_text(f"{pin} \\\n    --hash=sha256:{'0' * 64}\n")
    return file


def test_a_pinned_version_with_a_known_hole_fails_the_audit(
    audit: Audit, serve: Callable[..., str], tmp_path: Path
) -> None:
    found = audit(serve(_Osv), lock(tmp_path, "requests==2.19.0"))

    assert found.returncode == 1
    assert ADVISORY in found.stdout
    assert "requests" in found.stdout


def test_pinned_versions_of_which_nothing_is_known_pass(
    audit: Audit, serve: Callable[..., str], tmp_path: Path
) -> None:
    found = audit(serve(_Osv), lock(tmp_path, "requests==2.34.0"))

    assert (found.returncode, "NOT AUDITED" in found.stdout) == (0, False), found.stderr


@pytest.mark.parametrize("source", [None, _Mirror], ids=["away", "without advisories"])
def test_an_audit_that_can_ask_nobody_says_so_and_fails_unless_that_is_allowed(
    audit: Audit, serve: Callable[..., str], source: type[BaseHTTPRequestHandler] | None
) -> None:
    osv = source and serve(source)

    refused, allowed = audit(osv), audit(osv, "--unreachable-is-no-failure")

    assert (refused.returncode, allowed.returncode) == (3, 0)
    assert refused.stdout == allowed.stdout
    assert refused.stdout.startswith("NOT AUDITED: no source of advisories can be asked")
    assert refused.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "line", "kind"),
    [
        ("values.yaml", "password: {}", "Secret Keyword"),
        ("settings.py", 'URL = "postgresql://synergyway:{}@db/synergyway"', "Basic Auth Credentials"),
        ("README.md", "export AWS_ACCESS_KEY_ID=AKIA{}", "AWS Access Key"),
        ("notes.txt", "push with ghp_{}", "GitHub Token"),
    ],
)
def test_a_secret_in_a_file_is_found_and_not_shown(tmp_path: Path, name: str, line: str, kind: str) -> None:
    formats = {"GitHub Token": "q7Kd2Lm9" * 4 + "AeUi", "AWS Access Key": "QLTPW5JXNVB2RSDC"}
    secret = formats.get(kind, "8Fq2vLr9x-Zm4")
    (tmp_path / name).write_text(line.format(secret) + "\n")

    found = search(tmp_path / name)

    assert found.returncode != 0
    assert kind in found.stdout
    assert secret not in found.stdout


def test_a_value_that_only_looks_like_a_secret_can_be_allowed(tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text("password: 8Fq2vLr9x-Zm4 # pragma: allowlist secret\n")

    assert search(file).returncode == 0


def search(file: Path) -> subprocess.CompletedProcess[str]:
    command = [PROJECT / ".ci/check_security.sh", BIN, file]
    return subprocess.run(command, check=False, capture_output=True, text=True)
