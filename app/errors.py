"""Every error that the service raises on purpose.

SynergyWayError
├── ConfigurationError        a setting or an argument is wrong: correct it
├── KeyReused                 a request's idempotency key belongs to another request
├── BrokerUnavailable         the message broker did not take a message
│   └── RunNotStarted         and the run that it was to start is failed
├── DatabaseUnavailable       the database did not answer a read of the API
├── LeaseLost                 another worker has taken the chunk over: this one stops
├── Abandoned                 workers died of a chunk once too often
└── ProviderError             the source refused, or answered what cannot be used: asking again is no help
    ├── ProviderNotFound      the source has no such record
    ├── ProviderRefused       the source refused the request: for one record, or whoever asks
    └── ProviderUnavailable   the source may answer later (also a requests.RequestException)
"""

from requests import RequestException


class SynergyWayError(Exception):
    """The root of the tree above. Its message is a sentence for a person."""


class ConfigurationError(SynergyWayError):
    """A setting or an argument is wrong."""


class BrokerUnavailable(SynergyWayError):
    """The message broker is out of reach or did not confirm a message."""


class DatabaseUnavailable(SynergyWayError):
    """The database is out of reach, or all connections to it are taken for too long."""


class RunNotStarted(BrokerUnavailable):
    """The broker did not take the run's message. The run is failed, and stays so even when the message arrives."""

    def __init__(self, run_id: int, reason: str) -> None:
        super().__init__(f"run {run_id} is failed and will not be started: {reason}")
        self.run_id = run_id


class KeyReused(SynergyWayError):
    """The idempotency key was used for a request that asked for something else."""


class LeaseLost(SynergyWayError):
    """The chunk's lease belongs to another worker now: nothing that this one still holds may be written."""


class Abandoned(SynergyWayError):
    """One worker after another took the chunk and neither finished nor released it."""


class ProviderError(SynergyWayError):
    """The source refused the request or answered with something that cannot be understood."""


class ProviderNotFound(ProviderError):
    """The source answered that it has no such record (404 or 410)."""


class ProviderRefused(ProviderError):
    """The source refused the request (another 4xx): the address, a credential or a parameter is wrong."""


class ProviderUnavailable(ProviderError, RequestException):
    """The source is out of reach, overloaded or limits our rate.

    retry_after: the seconds that the source asked us to wait, or None.
    throttled: True when the source said that we ask too often.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, throttled: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.throttled = throttled
