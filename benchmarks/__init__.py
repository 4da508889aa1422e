"""How near the service comes to the limit, and how far from the usual way: `make bench`."""
