"""What the pages of documentation tell readers to type: blocks of code, code within sentences, commands of a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.processes import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PAGES.remove(ROOT / "CHANGELOG.md")  # also says what there was

_FENCE = re.compile(r"^( *)```([\w-]*)[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_SEPARATORS = re.compile(r"[;&|()]+")
_KEYWORDS = ("do", "done", "until", "while", "if", "then", "fi", "else")
_REDIRECTION = re.compile(r"[<>]+")


@dataclass(frozen=True)
class Code:
    """A piece of code of a page, and the line on which it begins. `language` is that of its fence, empty for code
    within a sentence."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{named(self.page)}:{self.line}"


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> list[Code]:
    """Blocks in fences, in their order; of all languages where none is named."""
    text = page.read_text(encoding="utf-8")
    return [
        Code(page, text.count("\n", 0, found.start(3)) + 1, found[2], found[3])
        for found in _FENCE.finditer(text)
        if not languages or found[2] in languages
    ]


def without_blocks(page: Path) -> str:
    """The text between blocks in fences, each line where it was."""
    return _FENCE.sub(lambda found: "\n" * found[0].count("\n"), page.read_text(encoding="utf-8"))


def inline(page: Path) -> list[Code]:
    """Code within sentences, each piece on one line, wherever the page breaks it."""
    text = without_blocks(page)
    return [
        Code(page, text.count("\n", 0, found.start()) + 1, "", " ".join(found[1].split()).replace("\\|", "|"))
        for found in _INLINE.finditer(text)
    ]


def commands(code: str) -> Iterator[list[str]]:
    """The words of each simple command: what runs before, after or within another stands alone; assignments before a
    command, redirections and the keywords of loops are left out. Raises ValueError for a quote that its line does not
    end."""
    for line in code.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True  # words may have any sign that is no punctuation of the shell
        words: list[str] = []
        is_target = False  # of a redirection
        is_rest = False  # of a command with another inside
        for word in [*lexer, ";"]:
            if _SEPARATORS.fullmatch(word):
                if words and not is_rest:
                    yield words
                words, is_rest = [], word.endswith(")")
            elif _REDIRECTION.fullmatch(word):
                is_target = True
            elif is_target:
                is_target = False
            elif words or not (re.match(r"[A-Za-z_]\w*=", word) or word in _KEYWORDS):
                words.append(word)
