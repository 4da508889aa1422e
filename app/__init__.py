"""SynergyWay: a mirror of a public API's users, enriched with addresses and credit cards."""

__version__ = "0.1.0"
