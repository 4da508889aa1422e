"""Which source reads an address: forced by name, or found from the shape of its answer."""

import importlib
import pkgutil
from functools import cache
from typing import Any

from app import providers
from app.errors import ProviderError
from app.providers.source import Source
from app.utils.masking import redact

AUTO = "auto"


@cache
def sources() -> dict[str, Source]:
    """All sources by name: the SOURCE of each module in this package that defines one."""
    modules = (
        importlib.import_module(f"{providers.__name__}.{m.name}") for m in pkgutil.iter_modules(providers.__path__)
    )
    found = (getattr(module, "SOURCE", None) for module in modules)
    return {source.name: source for source in found if source is not None}


def recognise(body: Any, url: str) -> Source:
    """The source whose answer this is. Raises ProviderError when the shape is unknown."""
    for source in sources().values():
        if source.recognises(body):
            return source
    known = ", ".join(source.title for source in sources().values())
    raise ProviderError(
        f"{redact(url)} answered with a shape that is none of the known sources' ({known}): "
        "correct the address, or force a source by the *_API_SOURCE variable"
    )
