"""Files that others read while they are written."""

from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a reader sees the old one or the new one."""
    part = path.with_suffix(".part")
    part.write_bytes(content)
    part.replace(path)
