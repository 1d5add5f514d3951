"""``python -m archrank`` is the command line."""

from archrank.cli import main

main()
