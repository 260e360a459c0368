"""The command `covey-server`, which `covey serve` and `covey batch` are too: flags and environment -> Config -> one
process that serves, or several."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from covey_proto import program, variables
from covey_server import command_line, first_look, serving
from covey_server.config import VARIABLES, Config
from covey_server.errors import StartupError
from covey_server.observability import log_lines
from covey_server.offline import command as batch
from covey_server.system import standard_output, threads

if TYPE_CHECKING:
    from covey_server.app import App

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None, called_as: str = program.SERVER) -> int:
    """Serves until SIGTERM or SIGINT; a second one ends the process at once. `called_as`: what the user typed before
    the arguments. Returns the exit code."""
    with program.called(called_as):
        return _main(sys.argv[1:] if arguments is None else arguments)


def _main(given: Sequence[str]) -> int:
    try:
        if given[:1] == [batch.COMMAND]:
            return serving.explained(lambda: batch.main(given[1:], os.environ))
        if given[:1] == [first_look.COMMAND]:
            with first_look.FirstLook(given[1:], os.environ) as look:
                return _serve(look.config, look.served)
        return _serve(lambda: command_line.parse(given, os.environ))
    except SystemExit as ended:  # of --help, --version and wrong flags
        code = ended.code if isinstance(ended.code, int) else 0
        return standard_output.write(lambda: code)
    except RuntimeError as error:
        if not threads.is_none_left(error):
            raise
        log_lines.flush()
        program.print_error(f"{error}: {threads.ADVICE}", program.SERVER)
        os._exit(StartupError.exit_code)  # no orderly end: that would need threads


def _serve(configure: Callable[[], Config], served: Callable[[App], None] = lambda _: None) -> int:
    """`configure` is called first, `served` once models are served and callers were told so."""
    return serving.explained(lambda: _run(configure, served))


def _run(configure: Callable[[], Config], served: Callable[[App], None]) -> int:
    if os.getpid() == 1:  # the kernel drops SIGTERM for process 1 (in a container) until it has a handler
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    config = configure()
    log_lines.log_to_standard_error(config.log_level, config.log_format)
    if config.probe:
        from covey_server.probe import probe

        return probe(config)
    for each in variables.unknown(os.environ, VARIABLES):
        log.warning(each)
    serving.prepare()
    if config.check:
        from covey_server.check import print_findings

        return standard_output.write(lambda: print_findings(config, sys.stdout))
    return serving.with_all_taken_ports(config, lambda: _start(config, served))


def _start(config: Config, served: Callable[[App], None]) -> int:
    if config.processes > 1:
        from covey_server.processes.supervisor import supervise

        return supervise(config)

    def announce(app: App) -> int:
        http_port = None if app.http is None else app.http.port
        line = serving.ready_line(config, app.front.port, app.metrics_port, http_port)
        return standard_output.write(lambda: print(line)) or standard_output.write(lambda: served(app))

    return serving.serve(config, announce)


if __name__ == "__main__":
    raise SystemExit(main())
