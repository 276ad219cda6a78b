"""A reader of keepalived.conf for the tests, written from keepalived.conf(5) and not from the lab."""

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Block:
    """``words { … }``; a directive is a block without a body."""

    words: tuple[str, ...]
    body: list["Block"] | None = None
    line: int = field(default=0, compare=False)

    def flat(self, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        """Every directive with the blocks around it, outermost first."""
        path = (*above, " ".join(self.words))
        if self.body is None:
            yield path
        for inner in self.body or ():
            yield from inner.flat(path)


def parse(text: str) -> Block:
    """The configuration as one block without a name."""
    root = Block((), [])
    stack = [root]
    for number, raw in enumerate(text.splitlines(), start=1):
        words = raw.split("#")[0].split("!")[0].split()
        if not words:
            continue
        here = stack[-1].body
        assert here is not None
        if words == ["}"]:
            stack.pop()
            assert stack, f"line {number}: a brace too many"
        elif words[-1] == "{":
            block = Block(tuple(words[:-1]), [], number)
            here.append(block)
            stack.append(block)
        else:
            assert not {"{", "}"} & set("".join(words)), f"line {number}: a brace among words"
            here.append(Block(tuple(words), None, number))
    assert stack == [root], "a brace is missing"
    return root


def directives(text: str) -> list[tuple[str, ...]]:
    """Every directive of the file, each with the blocks around it."""
    return [path for block in parse(text).body or () for path in block.flat()]
