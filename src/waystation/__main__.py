"""``python -m waystation`` is the command ``waystation``."""

from waystation.cli import main

main()
