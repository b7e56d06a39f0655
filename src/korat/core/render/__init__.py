"""Intent rendered to values that a driver applies: nftables text, links and routes."""
