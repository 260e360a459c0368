"""A folder as Hugging Face has it: config.json, preprocessor_config.json and weights. Only JSON is read here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from covey_export.errors import InvalidSource
from covey_export.importing.settings import labels as label_files
from covey_export.importing.sources import processor, timm_config
from covey_export.importing.sources.contract import NOTHING, Contract
from covey_proto.wording import listed

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
_PROCESSOR = "processor_config.json"  # of newer versions, for more than images
TRANSFORMERS, TIMM = "hugging_face", "timm"  # also the kinds of ModelInfo.source
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_SHARDS = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_ONNX = ("model.onnx", "onnx/model.onnx")


@dataclass(frozen=True)
class HubFolder:
    """`kind` is the library that can build its network. `config` is config.json, empty where there is none."""

    path: Path
    kind: str
    config: Mapping[str, Any]

    @property
    def weights(self) -> tuple[Path, ...]:
        """The files of weights; empty where there are none."""
        for name in _WEIGHTS:
            if (self.path / name).is_file():
                return (self.path / name,)
        for name in _SHARDS:
            if (self.path / name).is_file():
                weight_map = _json(self.path / name).get("weight_map")
                names = set(weight_map.values()) if isinstance(weight_map, dict) else set()
                return tuple(self.path / str(each) for each in sorted(names, key=str))
        return ()

    @property
    def onnx(self) -> Path | None:
        """The network's ONNX file, which a folder may have in place of weights."""
        return next((self.path / name for name in _ONNX if (self.path / name).is_file()), None)


def find(path: Path) -> HubFolder | None:
    """The folder's description; None where it has no config.json. Raises InvalidSource where that cannot be read."""
    file = path / CONFIG
    if not file.is_file():
        return None
    config = _json(file)
    is_timm = isinstance(config.get("architecture"), str) and "model_type" not in config
    return HubFolder(path, TIMM if is_timm else TRANSFORMERS, config)


def read_contract(path: Path) -> Contract:
    """Reads from a folder, or one of its JSON files, how images are prepared, and labels where it has some.

    Raises InvalidSource where nothing there says how images are prepared.
    """
    folder = path if path.is_dir() else path.parent
    files = [folder / name for name in (PREPROCESSOR, _PROCESSOR, CONFIG)] if path.is_dir() else [path]
    config = _json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    for file in files:
        if not file.is_file():
            continue
        file_content = _json(file)
        file_content = (
            file_content["image_processor"] if isinstance(file_content.get("image_processor"), dict) else file_content
        )
        if (settings := timm_settings(file_content)) is not None:
            origin = file.name if settings is file_content else f"pretrained_cfg of {file.name}"
            return _with_labels_and_activation(timm_config.read(settings, origin), config)
        if file.name == CONFIG and path.is_dir():
            continue
        return _with_labels_and_activation(
            processor.read(file_content, file.name, str(config.get("model_type", ""))), config
        )
    raise InvalidSource(
        f"{path}: expected {PREPROCESSOR}, or a {CONFIG} with timm's pretrained_cfg, found {describe_content(path)}; "
        f"say how images are prepared with --like imagenet, or --mean, --std and --resize"
    )


def timm_settings(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """timm's pretrained_cfg, which its older versions wrote into config.json itself; None: there is none."""
    if isinstance(settings := config.get("pretrained_cfg"), dict):
        return settings
    return config if "input_size" in config and ("architecture" in config or "crop_pct" in config) else None


def contract_of(folder: HubFolder) -> Contract:
    """As read_contract; where nothing says how images are prepared, only their size, labels and activation."""
    if timm_settings(folder.config) is not None or any(
        (folder.path / name).is_file() for name in (PREPROCESSOR, _PROCESSOR)
    ):
        return read_contract(folder.path)
    image_size = folder.config.get("image_size")
    size = [image_size, image_size] if isinstance(image_size, int) else image_size
    if (
        not isinstance(size, list)
        or len(size) != 2
        or not all(isinstance(length, int) and length > 0 for length in size)
    ):
        return _with_labels_and_activation(NOTHING, folder.config)
    return _with_labels_and_activation(Contract(f"image_size of {CONFIG}", size=(size[0], size[1])), folder.config)


def _with_labels_and_activation(contract: Contract, config: Mapping[str, Any]) -> Contract:
    """The contract with the labels and the activation that config.json gives.

    Raises InvalidSource where the labels cannot be read.
    """
    if config.get("problem_type") == "multi_label_classification":
        note = f"{CONFIG} says multi_label_classification: each label is answered on its own (sigmoid)"
        contract = replace(contract, activation="sigmoid", notes=(*contract.notes, note))
    origin = f"id2label of {CONFIG}"
    try:
        labels = label_files.of_json(config["id2label"]) if isinstance(config.get("id2label"), dict) else None
    except (ValueError, TypeError) as error:
        raise InvalidSource(f"{origin}: {error}; name the labels with --labels FILE") from error
    if labels is None:
        labels, origin = timm_config.labels(config), f"label_names of {CONFIG}"
    if not labels:
        return contract
    return contract.with_labels(labels, origin)


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidSource(f"{file}: expected JSON, but it cannot be read ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise InvalidSource(f"{file}: expected a JSON object, got a {type(content).__name__}; fetch the file again")
    return content


def describe_content(path: Path) -> str:
    """What a folder holds, for people."""
    if not path.is_dir():
        return "something else"
    return listed(sorted(child.name for child in path.iterdir())[:8]) or "nothing"
