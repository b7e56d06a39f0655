"""Policy semantics: who selects whom, in which order, and the verdict with its reasons."""
