"""A hook of mkdocs: links from docs/ to other files of the repository lead to pages of the site.

On GitHub a page links to `../deploy/edge` or `../CONTRIBUTING.md` and the link works. The site only has docs/. So each
such file becomes a page under `repository/`: Markdown as it is, other text as a code block, a folder as the list of its
files. A link to a file that does not exist stays as it is, and `mkdocs build --strict` fails because of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PAGES = "repository"

_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")
_LANGUAGES = {
    ".py": "python",
    ".yml": "yaml",
    ".yaml": "yaml",
    ".json": "json",
    ".sh": "sh",
    ".proto": "protobuf",
    ".toml": "toml",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds a page for each file of the repository that a page links to, and for those that these link to."""
    waiting = [(PurePosixPath("docs", file.src_uri), file.content_string) for file in files.documentation_pages()]
    while waiting:
        source, text = waiting.pop()
        for path in _linked_files(source, text):
            uri = _page_of(path)
            if files.get_file_from_path(uri) is None:
                content = _content(path)
                files.append(File.generated(config, uri, content=content, inclusion=InclusionLevel.NOT_IN_NAV))
                if path.suffix == ".md" or (ROOT / path).is_dir():
                    waiting.append((path / "index" if (ROOT / path).is_dir() else path, content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page's text, its links to files of the repository replaced by links to their pages."""
    here = page.file.src_uri
    source = _source_of(here)

    def replace(match: re.Match[str]) -> str:
        path = _resolve(source, match[1])
        if path is None:
            return match[0]
        target = path.relative_to("docs") if path.is_relative_to("docs") else PurePosixPath(_page_of(path))
        return f"]({os.path.relpath(target, PurePosixPath(here).parent)}{match[2] or ''})"

    return _LINK.sub(replace, markdown)


def _linked_files(source: PurePosixPath, text: str) -> Iterator[PurePosixPath]:
    for match in _LINK.finditer(text):
        path = _resolve(source, match[1])
        if path is not None and not path.is_relative_to("docs"):
            yield path


def _resolve(source: PurePosixPath, link: str) -> PurePosixPath | None:
    """The path in the repository that a link in `source` leads to; None if there is nothing."""
    path = PurePosixPath(os.path.normpath(source.parent / link))
    return path if ".." not in path.parts and (ROOT / path).exists() else None


def _page_of(path: PurePosixPath) -> str:
    if (ROOT / path).is_dir():
        return f"{PAGES}/{path}/index.md"
    return f"{PAGES}/{path}" if path.suffix == ".md" else f"{PAGES}/{path}.md"


def _source_of(uri: str) -> PurePosixPath:
    """The path in the repository that a page was made from; of a folder's list, a name within the folder."""
    if not uri.startswith(f"{PAGES}/"):
        return PurePosixPath("docs", uri)
    path = PurePosixPath(uri).relative_to(PAGES)
    return path if (ROOT / path).exists() else path.with_suffix("")


def _content(path: PurePosixPath) -> str:
    full = ROOT / path
    if full.is_dir():
        names = sorted(f"{each.name}/" if each.is_dir() else each.name for each in full.iterdir())
        shown = [name for name in names if not name.startswith((".", "__pycache__"))]
        return f"# {path}/\n\n" + "".join(f"- [{name}]({name.rstrip('/')})\n" for name in shown)
    text = full.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    return f"# {path}\n\n````{_LANGUAGES.get(path.suffix, 'text')}\n{text}````\n"
