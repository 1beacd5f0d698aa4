"""``python -m coevo``."""

from coevo.cli import main

main()
