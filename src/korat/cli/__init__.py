"""The command line: ``korat VERB``. Calico's verbs under their own names, and korat's own."""
