"""``python -m waystation`` is the command ``waystation``."""

from waystation.cli import main

if __name__ == "__main__":
    main()
