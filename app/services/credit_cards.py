"""Filling in missing credit cards."""

from collections.abc import Iterator

from app.providers.source import Noun
from app.queries.enrichment import CARDS
from app.records import Claim
from app.services.chunks import Step
from app.services.context import Context
from app.services.enrichment import Enrichment, steps


def card_steps(context: Context, claim: Claim) -> Iterator[Step]:
    """See enrichment.steps."""
    settings = context.settings
    cards = Enrichment(
        Noun.CARD,
        CARDS,
        settings.credit_card_api_url,
        settings.credit_card_api_source,
        settings.enrich_cc_cron.times_a_day(),
    )
    return steps(context, claim, cards)
