"""Certificates of the tests' own, made by OpenSSL."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """Signed by itself: a client that is to trust it is given the file."""

    file: Path
    key: Path

    def server(self) -> ssl.SSLContext:
        """What a server identifies itself with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file, self.key)
        return context


def certificate(folder: Path, name: str, *, host: str = "IP:127.0.0.1", expired: bool = False) -> Certificate:
    """host: whose it is, in OpenSSL's form of a subjectAltName."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    extensions = (f"subjectAltName={host}", "keyUsage=critical,digitalSignature,keyCertSign")
    _openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "1"),
        *(part for extension in extensions for part in ("-addext", extension)),
        *("-subj", f"/CN={name}", "-out", str(made.file), "-keyout", str(made.key)),
    )
    if expired:
        files = ("-in", str(made.file), "-signkey", str(made.key), "-out", str(made.file))
        _openssl("x509", "-days", "-1", *files)
    return made


def _openssl(*arguments: str) -> None:
    made = subprocess.run(["openssl", *arguments], check=False, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
