"""The nftables table ``inet korat`` as a value: built, printed, simulated and compared here."""
