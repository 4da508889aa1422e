"""What a person can do about a run that failed."""

from app.records import Job

_VARIABLES = {
    Job.SYNC_USERS: ("USERS_API_URL", "USERS_API_SOURCE"),
    Job.ENRICH_MISSING_ADDRESSES: ("ADDRESS_API_URL", "ADDRESS_API_SOURCE"),
    Job.ENRICH_MISSING_CARDS: ("CREDIT_CARD_API_URL", "CREDIT_CARD_API_SOURCE"),
}

# By the names of the errors' classes, which is what the runs table keeps.
_UNAVAILABLE = (
    "The source was out of reach or overloaded. The next tick tries again; if it goes on, see whether a worker reaches "
    "the address in {url}."
)
_REFUSED = "The source refused the request. Check the address in {url}, and whether the source asks for a credential."
_NOT_UNDERSTOOD = (
    "The source answered with something that is not understood. Check the address in {url}. If it is right, name the "
    "source in {source}."
)
_BROKER = (
    "The message broker was out of reach. See whether it runs and whether CELERY_BROKER_URL is right, then start the "
    "run again."
)
_DATABASE = "The database was out of reach. See whether it runs and has connections left, then start the run again."
_ABANDONED = "Workers died of it one after another. Look for the reason in their logs and in their memory limit."
_SETTING = "Correct what the sentence names, then start the run again."
_TIME_LIMIT = (
    "A part took longer than it may. See how long the source takes to answer; TASK_SOFT_TIME_LIMIT_SECONDS sets the "
    "limit."
)
_UNKNOWN = "Look for this run's number in the worker's log, then start the run again."
_ADVICE = {
    "ProviderUnavailable": _UNAVAILABLE,
    "ProviderRefused": _REFUSED,
    "ProviderNotFound": "The source has nothing at this address. Check {url}.",
    "ProviderError": _NOT_UNDERSTOOD,
    "BrokerUnavailable": _BROKER,
    "OperationalError": _DATABASE,
    "InterfaceError": _DATABASE,
    "Abandoned": _ABANDONED,
    "ConfigurationError": _SETTING,
    "SoftTimeLimitExceeded": _TIME_LIMIT,
}


def advice(job: Job, error_class: str | None) -> str:
    """One or two sentences for a person; for an error that is not known here, where to look."""
    url, source = _VARIABLES[job]
    return _ADVICE.get(error_class or "", _UNKNOWN).format(url=url, source=source)
