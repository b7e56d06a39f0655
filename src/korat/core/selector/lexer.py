"""Selector text to tokens.

The language has no keywords: ``in``, ``has`` and ``contains`` may be labels. A word is an operator
only right after a label, and ``has``, ``all`` and ``global`` are functions only right before their
parenthesis. Only blanks and tabs separate; a line break is an error.

Source: libcalico-go/lib/selector/tokenizer.
"""

import re
from enum import Enum
from typing import NamedTuple

from korat.core.selector.error import SelectorError

LABEL_LENGTH_MAX = 512


class Kind(Enum):
    """The sorts of token; the value is what an error message calls it."""

    LABEL = "a label"
    STRING = "a quoted string"
    HAS = "has(...)"
    ALL = "all()"
    GLOBAL = "global()"
    EQ = "=="
    NE = "!="
    CONTAINS = "contains"
    STARTS_WITH = "starts with"
    ENDS_WITH = "ends with"
    IN = "in"
    NOT_IN = "not in"
    NOT = "!"
    AND = "&&"
    OR = "||"
    LPAREN = "("
    RPAREN = ")"
    LBRACE = "{"
    RBRACE = "}"
    COMMA = ","
    END = "the end"


class Token(NamedTuple):
    """One token: its kind, its label or string, and where it starts."""

    kind: Kind
    text: str
    position: int


_BLANKS = re.compile(r"[ \t]*")
_LABEL = re.compile(r"[A-Za-z0-9_./-]+")
_STRING = re.compile(r"\"[^\"]*\"|'[^']*'")
_FUNCTION = re.compile(r"(has|all|global)\([ \t]*")
_WORD_OPERATOR = re.compile(r"contains|starts[ \t]*with|ends[ \t]*with|not[ \t]*in|in")
_SYMBOLS = {
    kind.value: kind
    for kind in (
        Kind.EQ,
        Kind.NE,
        Kind.AND,
        Kind.OR,
        Kind.NOT,
        Kind.LPAREN,
        Kind.RPAREN,
        Kind.LBRACE,
        Kind.RBRACE,
        Kind.COMMA,
    )
}
_WORDS = {
    kind.value.replace(" ", ""): kind
    for kind in (Kind.CONTAINS, Kind.STARTS_WITH, Kind.ENDS_WITH, Kind.IN, Kind.NOT_IN)
}


def tokens(text: str) -> list[Token]:
    """All tokens of a selector, the last one of kind END.

    Raises:
        SelectorError: something in the text is no token.
    """
    found: list[Token] = []
    position = _skip_blanks(text, 0)
    while position < len(text):
        after_label = bool(found) and found[-1].kind is Kind.LABEL
        token, position = _token(text, position, after_label=after_label)
        found.append(token)
        position = _skip_blanks(text, position)
    found.append(Token(Kind.END, "", len(text)))
    return found


def _skip_blanks(text: str, position: int) -> int:
    blanks = _BLANKS.match(text, position)
    return blanks.end() if blanks else position


def _token(text: str, position: int, *, after_label: bool) -> tuple[Token, int]:
    for length in (2, 1):
        symbol = _SYMBOLS.get(text[position : position + length])
        if symbol is not None:
            return Token(symbol, "", position), position + length
    if text[position] in "\"'":
        return _string(text, position)
    if after_label:
        return _word_operator(text, position)
    function = _FUNCTION.match(text, position)
    if function:
        return _function(text, position, function)
    return _label(text, position)


def _string(text: str, position: int) -> tuple[Token, int]:
    string = _STRING.match(text, position)
    if string is None:
        raise SelectorError(text, position, f"this string lacks its closing {text[position]}")
    return Token(Kind.STRING, string[0][1:-1], position), string.end()


def _word_operator(text: str, position: int) -> tuple[Token, int]:
    word = _WORD_OPERATOR.match(text, position)
    if word is None:
        raise SelectorError(text, position, "expected an operator after the label")
    kind = _WORDS[word[0].replace(" ", "").replace("\t", "")]
    return Token(kind, "", position), word.end()


def _function(text: str, position: int, opening: re.Match[str]) -> tuple[Token, int]:
    name, end, label = opening[1], opening.end(), ""
    if name == "has":
        token, end = _label(text, end)
        label, end = token.text, _skip_blanks(text, end)
    if text[end : end + 1] != ")":
        raise SelectorError(text, end, f"expected the ) of {name}(")
    kind = {"has": Kind.HAS, "all": Kind.ALL, "global": Kind.GLOBAL}[name]
    return Token(kind, label, position), end + 1


def _label(text: str, position: int) -> tuple[Token, int]:
    label = _LABEL.match(text, position)
    if label is None:
        what = f"not {text[position]!r}" if position < len(text) else "here the text ends"
        raise SelectorError(text, position, f"expected a label or an expression, {what}")
    if len(label[0]) > LABEL_LENGTH_MAX:
        raise SelectorError(text, position, f"a label has at most {LABEL_LENGTH_MAX} characters")
    return Token(Kind.LABEL, label[0], position), label.end()
