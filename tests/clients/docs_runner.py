"""Runs the Python blocks of a Markdown file one after the other, in one namespace:
`python docs_runner.py FILE TARGET HTTP_TARGET`.

`localhost:8001` stands for TARGET, `localhost:8000` for HTTP_TARGET. What a block prints must be what the comments
behind its calls of print say, line by line: ` / ` parts lines, `...` stands for anything. (`--unchecked` looks at no
output.)
"""

from __future__ import annotations

import contextlib
import fnmatch
import io
import re
import sys
from pathlib import Path

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXPECTED = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)


def main(file: str, target: str, http_target: str, unchecked: str = "") -> None:
    text = Path(file).read_text()
    namespace: dict[str, object] = {"__name__": "__main__"}
    count = 0
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start(1))
        source = "\n" * line + block[1]  # so that tracebacks name the right line
        source = source.replace("localhost:8001", target).replace("localhost:8000", http_target)
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(source, file, "exec"), namespace)
        if not unchecked:
            check(f"{file}:{line}", EXPECTED.findall(block[1]), output.getvalue().splitlines())
        count += 1
    print(count, "blocks")


def check(place: str, expected: list[str], printed: list[str]) -> None:
    """Raises AssertionError where the lines differ."""
    patterns = [re.sub(r"([\[?])", r"[\1]", line).replace("...", "*") for one in expected for line in one.split(" / ")]
    matches = len(patterns) == len(printed) and all(map(fnmatch.fnmatchcase, printed, patterns))
    assert matches, f"{place}: the comments say {expected}, printed was {printed}"


if __name__ == "__main__":
    main(*sys.argv[1:])
