"""`python -m genau.cli`."""

from genau.cli import main

if __name__ == "__main__":
    main()
