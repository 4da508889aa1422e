"""Certificates of the tests' own, made by OpenSSL."""

import ssl
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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


_DAY = timedelta(days=1)
# What `openssl ca` needs to be told. Unlike `openssl x509` it takes dates in the past, whatever its version.
_CONFIGURATION = """
[ca]
default_ca = tests
[tests]
database = {folder}/index.txt
new_certs_dir = {folder}
rand_serial = yes
unique_subject = no
default_md = sha256
copy_extensions = copy
policy = any
[any]
commonName = supplied
"""


def certificate(folder: Path, name: str, *, host: str = "IP:127.0.0.1", expired: bool = False) -> Certificate:
    """host: whose it is, in OpenSSL's form of a subjectAltName."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    request, configuration = folder / f"{name}.csr", folder / "openssl.cnf"
    configuration.write_text(_CONFIGURATION.format(folder=folder))
    (folder / "index.txt").touch()
    extensions = (
        f"subjectAltName={host}",
        "keyUsage=critical,digitalSignature,keyCertSign",
        # Python 3.13 trusts nobody without these.
        *("basicConstraints=critical,CA:TRUE", "subjectKeyIdentifier=hash"),
    )
    _openssl(
        *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"),
        *(part for extension in extensions for part in ("-addext", extension)),
        *("-subj", f"/CN={name}", "-out", str(request), "-keyout", str(made.key)),
    )
    ends = datetime.now(UTC) + (-_DAY if expired else _DAY)
    dates = (f"{date:%Y%m%d%H%M%SZ}" for date in (ends - 2 * _DAY, ends))
    _openssl(
        *("ca", "-batch", "-notext", "-selfsign", "-config", str(configuration), "-keyfile", str(made.key)),
        *(part for option in zip(("-startdate", "-enddate"), dates, strict=True) for part in option),
        *("-in", str(request), "-out", str(made.file)),
    )
    return made


def _openssl(*arguments: str) -> None:
    made = subprocess.run(["openssl", *arguments], check=False, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
