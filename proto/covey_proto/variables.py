"""Environment variables named COVEY_*: which of them something reads, so that a misspelt one does not go unnoticed.

The server's are the fields of its Config, which it hands over; those of all others stand here. A test looks for the
names in every file of the repository.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Mapping

from covey_proto import program

PREFIX = "COVEY_"
OF_CLIENTS = frozenset(
    (
        "COVEY_CA_CERTIFICATE",
        "COVEY_CLIENT_CERTIFICATE",
        "COVEY_CLIENT_KEY",
        "COVEY_SERVER_NAME",
        "COVEY_TARGET",
        "COVEY_TLS",
        "COVEY_TOKEN",
        "COVEY_TOKEN_FILE",
    )
)
OF_TRAINING = frozenset(("COVEY_DATA",))
# Compose, Swarm and scripts read them; a server that is started from the same shell sees them, too.
OF_DEPLOYMENT = frozenset(
    (
        "COVEY_BIND",
        "COVEY_CERTIFICATES",
        "COVEY_CERTIFICATE_SECRET",
        "COVEY_CHECKPOINTS",
        "COVEY_CPUS",
        "COVEY_DATASET",
        "COVEY_GRPC_PORTS",
        "COVEY_HTTP_PORTS",
        "COVEY_IMAGE",
        "COVEY_KEY_SECRET",
        "COVEY_LOAD_RATE",
        "COVEY_LOAD_SECONDS",
        "COVEY_METRICS_PORTS",
        "COVEY_NETWORKS",
        "COVEY_PORT",
        "COVEY_REPLICAS",
        "COVEY_TAG",
        "COVEY_TOKENS",
        "COVEY_TOKENS_SECRET",
    )
)
OF_OTHERS = OF_CLIENTS | OF_TRAINING | OF_DEPLOYMENT
_OF_THE_EDGE = "COVEY_EDGE_"  # which looks for misspelt ones itself
# What Kubernetes sets for services named covey and covey-...
_OF_KUBERNETES = re.compile(r".*_SERVICE_(HOST|PORT(_\w+)?)|.*_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?")


def unknown(environment: Mapping[str, str], of_the_server: Collection[str]) -> list[str]:
    """A sentence for each variable that nothing reads, with the name that it probably should have."""
    known = OF_OTHERS.union(of_the_server)
    said = []
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name in known or name.startswith(_OF_THE_EDGE):
            continue
        if _OF_KUBERNETES.fullmatch(name) or environment[name].startswith(("tcp://", "udp://", "sctp://")):
            continue
        near = next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.8)), "")
        hint = f"did you mean {near}?" if near else "`covey serve --help` lists those of the server"
        said.append(f"the environment variable {name} has no effect: nothing of Covey reads it; {hint}")
    return said


def print_unknown(of_the_server: Collection[str], usual: str) -> None:
    """Prints these sentences to standard error, behind the program's name; `usual` as program.print_error has it."""
    for each in unknown(os.environ, of_the_server):
        program.print_error(f"warning: {each}", usual)
