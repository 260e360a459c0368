"""`covey label FOLDER`: gives captured images their true classes, the least certain first."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from covey.cli.exits import Exit
from covey_proto.wording import plural

if TYPE_CHECKING:
    from covey.labelling.captures import Captures

NAME = "label"
SUMMARY = "label images that a server has captured"
DESCRIPTION = (
    "Go through the images that `covey serve --capture` has kept, those first that the model was least sure of, and "
    "take a key for the true class of each. Ends at any time without losing anything."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="a model's captures, such as captures/lenet")
    parser.add_argument("--terminal", action="store_true", help="ask here, line by line, and open no page")
    parser.add_argument("--no-browser", action="store_true", help="print the page's address and open no browser")
    parser.add_argument(
        "--port", type=_port, default=0, metavar="PORT", help="of the page, on 127.0.0.1 (default: one that is free)"
    )


def run(options: argparse.Namespace) -> Exit:
    """Raises InvalidInput."""
    from covey.labelling.captures import Captures  # here, as no other command needs it

    captures = Captures(options.folder)
    before = captures.decided
    try:
        _ask(captures, options)
    except KeyboardInterrupt:  # the usual end
        print()
    finally:
        captures.close()
    print(f"{plural(max(0, captures.decided - before), 'image')} labelled, {captures.waiting:,} wait")
    print(f"to train with what is labelled: covey train NETWORK --dataset capture:{captures.folder}")
    return Exit.OK


def _ask(captures: Captures, options: argparse.Namespace) -> None:
    if options.terminal:
        from covey.labelling import terminal

        terminal.run(captures, sys.stdin, sys.stdout)
        return
    from covey.labelling.page import LabelPage

    page = LabelPage(captures, options.port)
    with page.running() as thread:
        print(f"label in the browser, and end with Finish or Ctrl-C: {page.url}", flush=True)
        if not options.no_browser and _has_display():
            webbrowser.open(page.url)
        thread.join()


def _has_display() -> bool:
    """Elsewhere a browser of the terminal could be opened, in which no script runs."""
    return sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _port(text: str) -> int:
    port = int(text) if text.isdecimal() else -1
    if not 0 <= port < 65_536:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; expected 0 to 65535")
    return port
