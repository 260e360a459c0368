"""`covey models`: what a server serves, and what it refuses to serve."""

from __future__ import annotations

import argparse
from collections import Counter

from covey.cli import json_lines, table
from covey.cli.connection import connect
from covey.cli.exits import Exit
from covey.results import CanaryState, Model

NAME = "models"
SUMMARY = "list the models a server knows"
DESCRIPTION = "List the models a server knows; those it refuses to serve, and why, included."

_HEADER = ("MODEL", "VERSION", "STATE", "INPUT", "CLASSES", "DATA SET", "ACCURACY", "DEVICE", "REMARK")
_CANARY = {
    CanaryState.CHECKING: "canary, checked first",
    CanaryState.TRIAL: "canary",
    CanaryState.PROMOTED: "canary, promoted",
    CanaryState.ROLLED_BACK: "canary, rolled back",
}
_RIGHT = ("VERSION", "INPUT", "CLASSES", "ACCURACY")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="JSON Lines instead of a table: one object per model")


def run(options: argparse.Namespace) -> Exit:
    with connect(options) as client:
        models = client.models()
    if options.json:
        for model in models:
            print(json_lines.line(model))
    else:
        served = Counter(model.name for model in models if model.is_ready)
        rows = [_row(model, model.is_default_version and served[model.name] > 1) for model in models]
        print(table.render(_HEADER, rows, _RIGHT))
    return Exit.OK


def _row(model: Model, is_chosen: bool) -> tuple[str, ...]:
    """`is_chosen`: of several versions, it answers requests that name none."""
    size, training, serving = model.input, model.training, model.serving
    return (
        model.name,
        str(model.version),
        model.state.value,
        f"{size.height}x{size.width}x{size.channels}" if size else "-",
        str(len(model.labels)) if model.labels else "-",
        training.dataset if training else "-",
        f"{training.test_accuracy:.2%}" if training else "-",
        serving.device if serving else "-",
        _remark(model, is_chosen),
    )


def _remark(model: Model, is_chosen: bool) -> str:
    remarks = ["default" if model.is_default else "default version" if is_chosen else ""]
    if model.canary is not None:
        remarks.append(f"{_CANARY[model.canary]}{model.canary_reason and ': '}{model.canary_reason}")
    remarks.append("shadow" if model.is_shadow else "")
    return "; ".join(filter(None, [*remarks, model.reason]))
