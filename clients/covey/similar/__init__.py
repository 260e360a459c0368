"""Similar images: an index of embeddings in a folder, by which the nearest ones of a vector are found."""

from covey.similar.index import Index
from covey.similar.search import Match
from covey.similar.storage import About

__all__ = ["About", "Index", "Match"]
