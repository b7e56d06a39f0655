"""``python -m korat``."""

from korat.cli.main import main

main()
