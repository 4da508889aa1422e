"""The command line: ``python -m app run`` is the whole service on embedded parts."""

import argparse

from app.demo import run


def main() -> int:
    """Exit code: 0 when stopped by the user, 1 when a part failed."""
    parser = argparse.ArgumentParser(prog="python -m app", description="SynergyWay")
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("run", help="run the whole service here: SQLite, a broker in files, a sample provider")
    start.add_argument("--port", type=int, default=8000, help="the port of the page and the API (default 8000)")
    arguments = parser.parse_args()
    return run(arguments.port)


if __name__ == "__main__":
    raise SystemExit(main())
