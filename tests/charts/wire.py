"""What Helm sends to an API server."""

from base64 import b64encode
from collections.abc import Iterator

import yaml

from tests.charts.helm import Object


def parsed(body: bytes) -> Object:
    """The object in a request: JSON or YAML, or the Protobuf in which Helm 4 sends the Secrets of its own records."""
    if not body.startswith(b"k8s\0"):
        return dict(yaml.load(body, yaml.CSafeLoader))
    unknown = dict(_fields(body[4:]))
    secret: list[tuple[int, bytes]] = list(_fields(unknown[2]))
    metadata = list(_fields(dict(secret)[1]))
    pairs = [dict(_fields(pair)) for number, pair in metadata if number == 11]
    data = [dict(_fields(pair)) for number, pair in secret if number == 2]
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": dict(metadata)[1].decode(),
            "labels": {pair[1].decode(): pair[2].decode() for pair in pairs},
        },
        "type": dict(secret)[3].decode(),
        "data": {pair[1].decode(): b64encode(pair[2]).decode() for pair in data},
    }


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The numbers and contents of the fields that have a length; numbers are left out."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        number, kind = divmod(varint(), 8)
        size = varint()
        if kind == 2:
            yield number, message[at : at + size]
            at += size
