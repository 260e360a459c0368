"""Names and numbers are the standard's: held against the messages that Triton's own client carries."""

from __future__ import annotations

import subprocess
import sys

# Prints a line per field, enum value and method of the modules named. Each side in a process of its own: a package can
# be registered once per process.
DUMP = """
import importlib, sys
def show(messages):
    for message in messages:
        for field in message.fields:
            kind = field.message_type or field.enum_type
            group = field.containing_oneof.name if field.containing_oneof else ""
            print("field", message.full_name, field.name, field.number, field.type, field.is_repeated, group,
                  kind.full_name if kind else "")
        show(message.nested_types)
        show_values(message.enum_types)
def show_values(enums):
    for enum in enums:
        for value in enum.values:
            print("value", enum.full_name, value.name, value.number)
for name in sys.argv[1:]:
    file = importlib.import_module(name).DESCRIPTOR
    show(file.message_types_by_name.values())
    show_values(file.enum_types_by_name.values())
    for service in file.services_by_name.values():
        for method in service.methods:
            print("method", method.full_name, method.input_type.full_name, method.output_type.full_name,
                  method.client_streaming, method.server_streaming)
"""
KSERVE = "field inference.ModelMetadataResponse"  # has `properties` beyond Triton's


def lines(*modules: str) -> set[str]:
    command = [sys.executable, "-c", DUMP, *modules]
    return set(subprocess.check_output(command, text=True).splitlines())


def test_every_name_and_number_is_the_standards() -> None:
    ours = lines("covey_proto.inference.open_inference_pb2")
    theirs = lines("tritonclient.grpc.service_pb2", "tritonclient.grpc.model_config_pb2")
    assert ours - theirs == {
        f"{KSERVE} properties 6 11 True  inference.ModelMetadataResponse.PropertiesEntry",
        f"{KSERVE}.PropertiesEntry key 1 9 False  ",
        f"{KSERVE}.PropertiesEntry value 2 9 False  ",
    }


def test_what_a_client_sends_is_all_there() -> None:
    """Of these messages no field may be missing: one that is not known is passed over in silence."""
    ours = lines("covey_proto.inference.open_inference_pb2")
    theirs = lines("tritonclient.grpc.service_pb2")
    whole = ("ModelInferRequest", "ModelInferResponse", "InferTensorContents", "InferParameter", "ModelReady", "Server")
    wanted = {line for line in theirs if line.startswith(tuple(f"field inference.{name}" for name in whole))}
    assert len(wanted) > 40
    assert wanted <= ours
