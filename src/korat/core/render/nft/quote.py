"""Free text as nftables takes it between quotes; not for names, which are never quoted.

Source: nft(8); src/scanner.l of nftables.
"""

import re

#: What may not stand in a quoted string; nft would take ``$`` for a variable.
_UNPRINTABLE = re.compile(r"[^ !#%-~]")


def quoted(text: str, limit: int) -> str:
    """Free text within nftables' quotes: cut to ``limit``, quotes and control signs replaced."""
    return '"' + _UNPRINTABLE.sub("_", text)[:limit] + '"'
