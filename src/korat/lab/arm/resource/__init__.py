"""What each ARM resource accepts and how it is shown."""
