"""Tokens to a tree, by recursive descent; one function per line of the grammar.

    expr    = and { "||" and }
    and     = unary { "&&" unary }
    unary   = { "!" } primary
    primary = "has(" LABEL ")" | "all()" | "global()" | "(" expr ")" | LABEL operator operand
    set     = "{" [ STRING { "," STRING } [","] ] "}"

Source: libcalico-go/lib/selector/parser.
"""

from korat.core.selector.ast import (
    All,
    And,
    Compare,
    Comparison,
    Global,
    Has,
    Member,
    Node,
    Or,
    negation,
)
from korat.core.selector.error import SelectorError
from korat.core.selector.lexer import Kind, Token, tokens

#: Parentheses inside parentheses; far more than anyone writes, far less than Python's stack holds.
DEPTH_MAX = 100

_COMPARISONS = {
    Kind.EQ: Comparison.EQ,
    Kind.NE: Comparison.NE,
    Kind.CONTAINS: Comparison.CONTAINS,
    Kind.STARTS_WITH: Comparison.STARTS_WITH,
    Kind.ENDS_WITH: Comparison.ENDS_WITH,
}


def tree(text: str) -> Node:
    """The tree of a selector; blank text is ``all()``.

    Raises:
        SelectorError: the text is no selector.
    """
    return _Parser(text).root()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)
        self._at = 0
        self._depth = 0

    def root(self) -> Node:
        if self._next().kind is Kind.END:
            return All()
        node = self._expression()
        if self._next().kind is not Kind.END:
            raise self._unexpected("&&, || or the end")
        return node

    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _taken(self, kind: Kind) -> bool:
        if self._next().kind is kind:
            self._at += 1
            return True
        return False

    def _unexpected(self, expected: str) -> SelectorError:
        token = self._next()
        return SelectorError(
            self._text, token.position, f"expected {expected}, not {token.kind.value}"
        )

    def _expression(self) -> Node:
        terms = [self._conjunction()]
        while self._taken(Kind.OR):
            terms.append(self._conjunction())
        return terms[0] if len(terms) == 1 else Or(tuple(terms))

    def _conjunction(self) -> Node:
        terms = [self._unary()]
        while self._taken(Kind.AND):
            terms.append(self._unary())
        return terms[0] if len(terms) == 1 else And(tuple(terms))

    def _unary(self) -> Node:
        negated = False
        while self._taken(Kind.NOT):
            negated = not negated
        node = self._primary()
        return negation(node) if negated else node

    def _primary(self) -> Node:
        match self._next().kind:
            case Kind.HAS:
                return Has(self._take().text)
            case Kind.ALL:
                self._take()
                return All()
            case Kind.GLOBAL:
                self._take()
                return Global()
            case Kind.LPAREN:
                return self._parenthesis()
            case Kind.LABEL:
                return self._label_test()
            case _:
                raise self._unexpected("a label, has(, all(), global(), ! or (")

    def _parenthesis(self) -> Node:
        if self._depth == DEPTH_MAX:
            raise SelectorError(
                self._text, self._next().position, f"nested deeper than {DEPTH_MAX} parentheses"
            )
        self._take()
        self._depth += 1
        node = self._expression()
        if not self._taken(Kind.RPAREN):
            raise self._unexpected("&&, || or )")
        self._depth -= 1
        return node

    def _label_test(self) -> Node:
        label = self._take().text
        operator = self._next().kind
        if operator in _COMPARISONS:
            self._take()
            return Compare(label, _COMPARISONS[operator], self._string())
        if operator in (Kind.IN, Kind.NOT_IN):
            self._take()
            return Member(label, self._set(), operator is Kind.NOT_IN)
        raise self._unexpected(
            f"==, !=, in, not in, contains, starts with or ends with after the label {label}"
        )

    def _string(self) -> str:
        if self._next().kind is not Kind.STRING:
            raise self._unexpected("a quoted string")
        return self._take().text

    def _set(self) -> frozenset[str]:
        if not self._taken(Kind.LBRACE):
            raise self._unexpected('a set such as {"a", "b"}')
        values = set()
        while self._next().kind is Kind.STRING:
            values.add(self._take().text)
            if not self._taken(Kind.COMMA):
                break
        if not self._taken(Kind.RBRACE):
            raise self._unexpected("a quoted string, a comma or }")
        return frozenset(values)
