"""Filling in missing addresses."""

from collections.abc import Iterator

from app.providers.source import Noun
from app.queries.enrichment import ADDRESSES
from app.records import Claim
from app.services.chunks import Step
from app.services.context import Context
from app.services.enrichment import Enrichment, steps


def address_steps(context: Context, claim: Claim) -> Iterator[Step]:
    """See enrichment.steps."""
    settings = context.settings
    cron = settings.enrich_addr_cron
    addresses = Enrichment(
        Noun.ADDRESS, ADDRESSES, settings.address_api_url, settings.address_api_source, cron.times_a_day()
    )
    return steps(context, claim, addresses)
