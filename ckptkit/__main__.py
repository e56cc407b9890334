"""``python -m ckptkit``."""

from ckptkit.cli.main import main

main()
