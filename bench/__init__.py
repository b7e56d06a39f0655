"""What korat costs, measured: ``make bench``. See docs/performance.md."""
