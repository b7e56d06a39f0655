"""What is wrong with a selector's text, and where."""


class SelectorError(ValueError):
    """A selector that does not parse; ``position`` counts characters from 0."""

    def __init__(self, text: str, position: int, reason: str) -> None:
        near = text[position : position + 20]
        place = f"at character {position + 1}, before {near!r}" if near else "at the end"
        super().__init__(f"{reason}, {place}")
        self.text = text
        self.position = position
        self.reason = reason
