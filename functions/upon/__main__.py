"""`python -m upon` is the command line."""

from upon_build.cli import main

if __name__ == "__main__":
    main()
