"""The commands of `covey`, in groups as `covey --help` shows them, and what people type in place of their names."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping

GROUPS: Mapping[str, tuple[str, ...]] = {
    "serve": ("serve", "import", "batch"),
    "ask a server": ("classify", "explain", "similar", "models", "info", "wait"),
    "train": (
        *("train", "convert", "verify", "report", "compare", "show", "examine", "try", "new", "label", "export"),
    ),
    "operate": ("doctor", "load", "plan", "promote", "rollback", "canary", "shadow", "completion", "version"),
}

# Words of other tools.
_OTHER_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("predict", "infer", "inference", "ask", "label-image"), "classify"),
    **dict.fromkeys(("run", "start", "server", "up", "deploy"), "serve"),
    **dict.fromkeys(("list", "ls", "ps"), "models"),
    **dict.fromkeys(("inspect", "describe", "metadata", "model"), "info"),
    **dict.fromkeys(("search", "neighbours", "neighbors", "retrieve", "embed"), "similar"),
    **dict.fromkeys(("size", "sizing", "capacity"), "plan"),
    **dict.fromkeys(("bench", "benchmark", "loadtest", "load-test", "perf"), "load"),
    **dict.fromkeys(("check", "diagnose", "env", "status"), "doctor"),
    **dict.fromkeys(("health", "ready"), "wait"),
    **dict.fromkeys(("heatmap", "why", "gradcam"), "explain"),
    **dict.fromkeys(("fit", "finetune", "fine-tune"), "train"),
    **dict.fromkeys(("add", "publish"), "import"),
    **dict.fromkeys(("eval", "evaluate", "test"), "examine"),
    **dict.fromkeys(("diff",), "compare"),
    **dict.fromkeys(("annotate",), "label"),
    **dict.fromkeys(("all", "networks", "datasets"), "export"),
    **dict.fromkeys(("undo", "revert"), "rollback"),
    **dict.fromkeys(("completions", "autocomplete"), "completion"),
}


def suggestion(word: str, commands: Collection[str]) -> str:
    """The command that an unknown `word` probably means; empty where there is none."""
    return _OTHER_WORDS.get(word) or next(iter(difflib.get_close_matches(word, sorted(commands), n=1)), "")
