"""The network of a folder as Hugging Face has it, built by transformers or timm. Nothing is downloaded, and no code of
the folder's own is run."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from torch import nn

from covey_export import weights
from covey_export.errors import InvalidSource
from covey_export.importing.sources import file_kind, hub_folder, torch_module
from covey_export.importing.sources.contract import Contract
from covey_export.importing.sources.hub_folder import HubFolder
from covey_export.importing.sources.onnx_file import OnnxFile
from covey_export.networks import timm_networks
from covey_export.networks.blame import first_line
from covey_proto.wording import listed, plural

_SIZE = (224, 224)
_SHOWN = 4
_FETCH = "fetch the whole folder again"


def read(folder: HubFolder, size: tuple[int, int] | None) -> tuple[OnnxFile, Contract]:
    """The network, exported for images of `size` (height, width), and its contract.

    Raises InvalidSource where the folder holds no classifier or not all of its weights, and InvalidWeights."""
    contract = hub_folder.contract_of(folder)
    height, width = size or contract.size or _SIZE
    if size is None and contract.size is None:
        contract = replace(
            contract, notes=(*contract.notes, f"nothing says the images' size; assumed is {height}x{width}")
        )
    for weights_file in folder.weights:
        _require_weights(folder, weights_file)
    if folder.kind == hub_folder.TIMM:
        network, name, channels, contract = _of_timm(folder, contract, (height, width))
    else:
        network, name = _of_transformers(folder)
        channels = _channels(folder)
    shape = (height, width, channels)
    file = torch_module.export(network, folder.path, folder.weights, shape, name, folder.kind, "pixel_values")
    return file, contract


def _require_weights(folder: HubFolder, file: Path) -> None:
    if not file.is_file():
        raise InvalidSource(f"{folder.path}: its weights are in {file.name} too, which is not there; {_FETCH}")
    with file.open("rb") as opened:
        head = opened.read(file_kind.HEAD_BYTES)
    file_is = file_kind.describe(head, file)
    if file_is is None or not any(kind in file_is for kind in ("safetensors", "PyTorch checkpoint", "Python pickle")):
        raise InvalidSource(f"{file}: expected weights, but {file_is or 'it is something else'}")


def _of_transformers(folder: HubFolder) -> tuple[nn.Module, str]:
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise InvalidSource(
            f"{folder.path}: its network is built by the package transformers, which is not installed: pip install "
            f"transformers"
        ) from error
    _require_classifier(folder)
    with _quiet(transformers):
        try:
            network, loading = transformers.AutoModelForImageClassification.from_pretrained(
                folder.path,
                local_files_only=True,
                trust_remote_code=False,
                weights_only=True,
                dtype="float32",
                ignore_mismatched_sizes=True,  # they are told below
                output_loading_info=True,
            )
        except Exception as error:
            raise InvalidSource(
                f"{folder.path}: transformers {transformers.__version__} cannot build its network: "
                f"{first_line(error)}; expected a classifier of its own, all of it in the folder"
            ) from error
    name = type(network).__name__
    mismatched = sorted({*loading["missing_keys"], *(str(mismatch[0]) for mismatch in loading["mismatched_keys"])})
    if mismatched:
        extra = sorted(loading["unexpected_keys"])
        raise InvalidSource(
            f"{folder.path}: its weights are not those of {name}: {plural(len(mismatched), 'tensor')} missing or of "
            f"another shape "
            f"({listed(mismatched[:_SHOWN])}){f', others too many ({listed(extra[:_SHOWN])})' if extra else ''}; "
            f"{_FETCH}, or take one whose classifier is trained"
        )
    return network, name


def _require_classifier(folder: HubFolder) -> None:
    architectures = folder.config.get("architectures")
    names = [str(architecture) for architecture in architectures] if isinstance(architectures, list) else []
    if names and not any("ImageClassification" in name or "Timm" in name for name in names):
        raise InvalidSource(
            f"{folder.path}: expected an image classifier (...ForImageClassification), found {listed(names)} in its "
            f"{hub_folder.CONFIG}; take the folder of a classifier"
        )


def _channels(folder: HubFolder) -> int:
    return 1 if folder.config.get("num_channels") == 1 else 3


def _of_timm(folder: HubFolder, contract: Contract, size: tuple[int, int]) -> tuple[nn.Module, str, int, Contract]:
    config = folder.config
    name = str(config["architecture"])
    settings = hub_folder.timm_settings(config) or {}
    timm_networks.pretrained_cfg(name)  # that there is one
    classes = config.get("num_classes", settings.get("num_classes"))
    options = config.get("model_args")
    options = dict(options) if isinstance(options, dict) else {}
    channels = int(options.pop("in_chans", 0) or (settings.get("input_size") or (3,))[0])
    if not isinstance(classes, int) or classes < 1:
        raise InvalidSource(
            f"{folder.path}: expected the number of classes (num_classes) in its {hub_folder.CONFIG}, found "
            f"{classes!r}; a network without its last layer is no classifier"
        )
    if tuple(settings.get("input_size") or ())[1:] != size:
        options |= timm_networks.size_options(name, *size)
    options.pop("num_classes", None)
    network = timm_networks.make(name, classes, channels, **options)
    weights.load(folder.weights[0]).load_into(network, classes, whole=True)
    if contract.labels is None and (labels := timm_networks.imagenet_labels(settings, classes)):
        contract = contract.with_labels(labels, f"timm's list of ImageNet, which has {classes:,} classes")
    return network, f"timm:{name}", channels, contract


@contextmanager
def _quiet(transformers: ModuleType) -> Iterator[None]:
    """Silences transformers' bars and warnings; what matters of them is said here."""
    logging = transformers.utils.logging
    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()
