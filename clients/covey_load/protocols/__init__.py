"""The protocols that a load can use: how each asks for a classification, and what its answers tell."""

from __future__ import annotations

from covey_load.plan import ProtocolName
from covey_load.protocols.base import Protocol
from covey_load.protocols.covey import CoveyProtocol
from covey_load.protocols.covey_http import CoveyHttp
from covey_load.protocols.oip import OpenInference
from covey_load.protocols.oip_http import OpenInferenceHttp
from covey_load.remote import Remote

_PROTOCOLS: dict[ProtocolName, type[Protocol]] = {
    ProtocolName.COVEY: CoveyProtocol,
    ProtocolName.HTTP: CoveyHttp,
    ProtocolName.OIP: OpenInference,
    ProtocolName.OIP_HTTP: OpenInferenceHttp,
}


def create_protocol(name: ProtocolName, remote: Remote) -> Protocol:
    """The protocol of that name, to that server."""
    return _PROTOCOLS[name](remote)
