"""Reading TMDL back into names and properties, as far as the lint asks; independent of what wrote it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_NAME = r"('(?:[^']|'')*'|[^\s'=.]+)"
_OBJECT = re.compile(
    rf"^(table|column|measure|hierarchy|level|partition|expression|relationship|role|perspective|tablePermission|"
    rf"perspectiveTable|perspectiveMeasure|perspectiveColumn|ref table|ref role|ref perspective)\s+{_NAME}\s*(=.*)?$"
)
_PROPERTY = re.compile(r"^(\w+)(?::\s*(.*))?$")


@dataclass
class Node:
    """An object of a TMDL file: kind, name, what follows its ``=``, properties, and what it holds."""

    kind: str
    name: str
    path: str
    line: int
    text: str = ""
    properties: dict[str, str] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)

    def all(self, kind: str) -> list[Node]:
        """Its direct children of a kind."""
        return [c for c in self.children if c.kind == kind]


def unquoted(name: str) -> str:
    """A name without TMDL's quotes."""
    return name[1:-1].replace("''", "'") if name.startswith("'") else name


def reference(text: str) -> tuple[str, str]:
    """Table and column of ``Table.'A Column'``."""
    found = re.fullmatch(rf"{_NAME}\.{_NAME}", text)
    return (unquoted(found[1]), unquoted(found[2])) if found else (text, "")


def read(path: str, text: str) -> list[Node]:
    """The objects of a file, nested by their tabs."""
    top = Node("file", path, path, 0)
    open_: list[tuple[int, Node]] = [(-1, top)]
    for number, line in enumerate(text.split("\n"), 1):
        depth = len(line) - len(line.lstrip("\t"))
        told = line.strip()
        if not told or told.startswith(("///", "annotation ")):
            continue
        # Deeper than a property of the innermost object by one more tab: a line of its expression.
        if open_[-1][1].kind in {"measure", "partition", "expression"} and depth >= open_[-1][0] + 2:
            open_[-1][1].text += f"{told}\n"
            continue
        while open_[-1][0] >= depth:
            open_.pop()
        found, parent = _OBJECT.match(told), open_[-1][1]
        if found:
            made = Node(found[1], unquoted(found[2]), path, number, (found[3] or "=")[1:].strip())
            parent.children.append(made)
            open_.append((depth, made))
        else:
            known = _PROPERTY.match(told)
            if known:
                parent.properties[known[1]] = known[2] or "true"
    return top.children
