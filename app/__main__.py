"""`python -m app` is the command `procdeck`."""

from app.cli import main

main()
