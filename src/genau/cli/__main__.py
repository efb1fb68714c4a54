"""`python -m genau.cli`."""

from genau.cli import main

main()
