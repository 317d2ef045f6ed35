"""The vision models of KerasHub: `backbone: hub/PRESET` in params.yaml, with the weights that KerasHub fetches.

keras_hub is imported here alone, and only where a backbone's name begins with hub/: it takes seconds.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from graft.backbone.downloads import timeout
from graft.backbone.hub_graph import graph, multiple_of
from graft.backbone.token_layers import resized_positions
from graft.backbone.weights import draw_nested_weights, load_weights
from graft.core import paths
from graft.core.errors import GraftError, nearest
from graft.core.files import sha256_of
from graft.settings.backbone_table import HUB

# KerasHub's classes of image encoders. Of the first three, with a text encoder beside it, the image encoder is taken.
PAIRS = ("CLIPBackbone", "MetaCLIP2Backbone", "SigLIPBackbone")
ENCODERS = (
    *("CLIPVisionEncoder", "MetaCLIP2VisionEncoder", "SigLIPVisionEncoder"),
    *("CSPNetBackbone", "DeiTBackbone", "DenseNetBackbone", "DINOV2Backbone", "DINOV3Backbone", "EfficientNetBackbone"),
    *("HGNetV2Backbone", "MiTBackbone", "MobileNetBackbone", "ResNetBackbone", "SwinTransformerBackbone"),
    *("VGGBackbone", "ViTBackbone", "XceptionBackbone"),
)
# The files of a preset, or of a model of timm, that decide what it computes.
FILES = ("config.json", "image_converter.json", "model*.h5", "model.weights.json", "*.safetensors*")
MISSING = "backbone: hub/ needs KerasHub; run pip install -c constraints.txt -e '.[hub]'"
DEFAULT_SIZE = 224


@dataclass(frozen=True)
class Preset:
    """All that is needed to build a preset's network again, without KerasHub's files.

    Attributes
    ----------
    config : the backbone in Keras's notation, for JSON.
    scale, offset : an image, values 0 to 255, times the first plus the second is what the network takes; for each of
        the three channels.
    """

    config: dict[str, Any]
    scale: list[float]
    offset: list[float]

    @property
    def scaling(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """A function that scales float32 images."""
        return lambda images: images * tf.constant(self.scale) + tf.constant(self.offset)


@dataclass(frozen=True)
class Loaded:
    """A preset with its weights as KerasHub gives them.

    Attributes
    ----------
    name : in params.yaml.
    backbone : KerasHub's image encoder.
    preset : what it takes to build it again.
    image_size : the size that it was trained with, in pixels.
    files : the SHA-256 of each file that decides what it computes, by name.
    folder : where the files are, if the name is that of a local folder.
    """

    name: str
    backbone: keras.Model
    preset: Preset
    image_size: int
    files: dict[str, str]
    folder: Path | None = None


def load(name: str, pretrained: bool = True) -> Loaded:
    """Return a preset; KerasHub fetches what is not in its cache.

    Parameters
    ----------
    name : ``hub/`` and a name of KerasHub, an address such as ``hf://timm/resnet18.a1_in1k``, or the path of a folder
        that KerasHub's `save_to_preset` has written, relative to the repository.
    pretrained : whether the weights are read; otherwise they are those of the layers' initialisers.

    Raises
    ------
    GraftError
        If keras-hub is not installed, the name is unknown, no image encoder, or the preset cannot be fetched or read.
    """
    hub = _keras_hub()
    from keras_hub.src.utils import preset_utils

    folder = _local_folder(hub, name)
    handle = str(folder or name.removeprefix(HUB))
    with _one_line_errors(name), timeout():
        loader = preset_utils.get_preset_loader(handle)
        kind = loader.check_backbone_class().__name__
    if kind not in PAIRS + ENCODERS:
        raise GraftError(f"backbone: {name} is no image encoder that can be used, but a {kind}; {_families()}")
    with _one_line_errors(name), timeout():
        backbone = hub.models.Backbone.from_preset(handle, load_weights=pretrained, dtype="float32")
        converter = _converter(loader, hub)
        files = _hashes(Path(preset_utils.get_file(handle, "config.json")).parent)
    backbone = backbone.vision_encoder if kind in PAIRS else backbone
    if converter is None and pretrained:
        raise GraftError(f"backbone: {name} has no image_converter.json, so how images are scaled is not known; add it")
    own = loader.config.get("config") or loader.converter.convert_backbone_config(loader.config)
    preset = Preset(_config(backbone, {} if kind in PAIRS else own), *_scale_and_offset(converter))
    return Loaded(name, backbone, preset, _default_size(backbone, converter), files, folder)


def network(loaded: Loaded, image_size: int, weights: str) -> keras.Model:
    """Return a preset as a functional model that can be cut.

    Parameters
    ----------
    loaded : the preset.
    image_size : height and width of an image in pixels.
    weights : ``none`` for random weights that depend on the name alone, the path of a Keras file, or anything else for
        those of the preset.

    Raises
    ------
    GraftError
        If the preset does not take images of this size, or the file is missing or of another network.
    """
    _require_multiple(loaded, image_size)
    if weights.endswith((".h5", ".hdf5", ".keras")):
        load_weights(loaded.backbone, weights)
    try:
        model = graph(loaded.backbone, image_size, model_name(loaded.name))
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        raise GraftError(
            f"image_size: {loaded.name} cannot be built at {image_size} pixels ({_reason(error)}); try "
            f"{loaded.image_size}, the size that it was trained with"
        ) from error
    if weights == "none":
        draw_nested_weights(model)
    return model


def rebuilt(name: str, preset: Preset, image_size: int, weights: Path, trained_size: int) -> keras.Model:
    """Return the network that `network` gave, from its weights, without KerasHub's files.

    Parameters
    ----------
    name : in params.yaml.
    preset : of the `Loaded` preset.
    image_size : pixels on each side of its images. Position embeddings are interpolated.
    weights : the file of the network's weights.
    trained_size : the image size of the network that these weights are of.
    """
    _keras_hub()
    backbone = keras.saving.deserialize_keras_object(preset.config)
    model = graph(backbone, trained_size, model_name(name))
    model.load_weights(weights)
    if image_size == trained_size:
        return model
    larger = graph(backbone, image_size, model_name(name))
    for new, old in zip(larger.weights, model.weights, strict=True):
        value = keras.ops.convert_to_numpy(old)
        new.assign(value if new.shape == old.shape else resized_positions(value, new.shape[1]))
    return larger


def fitting_size(loaded: Loaded, size: int | None, automatic: bool) -> int:
    """Return the image size for a preset.

    Parameters
    ----------
    loaded : the preset.
    size : wanted pixels on each side, or None for the size that the preset was trained with.
    automatic : whether a size that the patch does not divide becomes the next larger one; it is refused otherwise.
    """
    multiple = multiple_of(loaded.backbone)
    size = size or loaded.image_size
    if automatic:
        return -(-size // multiple) * multiple
    _require_multiple(loaded, size)
    return size


def model_name(name: str) -> str:
    """Return a name for the model: not the whole path of a folder, since compiled networks hold it."""
    return re.sub(r"\W", "_", name.rstrip("/").rsplit("/", 1)[-1])


def _require_multiple(loaded: Loaded, size: int) -> None:
    multiple = multiple_of(loaded.backbone)
    if size % multiple:
        lower = size // multiple * multiple
        choices = " or ".join(str(each) for each in (lower, lower + multiple) if each)
        raise GraftError(
            f"image_size: {size} is no multiple of {multiple}, the patch of {loaded.name}; set it to {choices}"
        )


def _keras_hub() -> Any:
    # Hugging Face's client would report each of its tries.
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    try:
        import keras_hub
    except ImportError as error:
        raise GraftError(MISSING) from error
    return keras_hub


def _local_folder(hub: Any, name: str) -> Path | None:
    """Return the folder that a name stands for; None for a preset of KerasHub, and for an address.

    Raises
    ------
    GraftError
        If it is none of them, or a preset that is no image encoder.
    """
    handle = name.removeprefix(HUB)
    known = {preset for kind in PAIRS + ENCODERS for preset in getattr(getattr(hub.models, kind, None), "presets", ())}
    if handle in known or "://" in handle:
        return None
    folder = paths.repository() / Path(handle).expanduser()
    if handle and folder.is_dir():
        return folder
    if handle in hub.models.Backbone.presets:
        raise GraftError(f"backbone: {name} is no image encoder that can be used; {_families()}")
    hint = nearest(name, [HUB + preset for preset in known])
    hint = hint if hint.startswith("did you mean") else "keras.io/keras_hub/presets lists them"
    raise GraftError(f"backbone: {name!r} is neither a preset of KerasHub nor a folder; {hint}")


def _families() -> str:
    names = (re.sub("Backbone|VisionEncoder|Transformer", "", kind) for kind in ENCODERS)
    return f"choose a preset of {', '.join(names)}"


@contextmanager
def _one_line_errors(name: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        # Models of timm and Transformers need safetensors.
        command = re.search(r"pip install [\w-]+", str(error))
        hint = f"run {command.group()}" if command else _reason(error)
        raise GraftError(f"backbone: {name} needs a package that is not installed; {hint}") from error
    # A network, a server, an account, a file: each library below raises its own errors.
    except Exception as error:
        raise GraftError(
            f"backbone: {name} could not be fetched or read ({_reason(error)}); connect to the network, or give a "
            "folder that KerasHub's save_to_preset has written: hub/path/to/folder"
        ) from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _converter(loader: Any, hub: Any) -> Any:
    try:
        kind = hub.layers.ImageConverter
        return loader.load_image_converter(kind)
    except FileNotFoundError:
        return None


def _scale_and_offset(converter: Any) -> tuple[list[float], list[float]]:
    if converter is None:
        # For random weights any scaling will do.
        return [1 / 127.5] * 3, [-1.0] * 3
    return _channels(converter.scale, 1.0), _channels(converter.offset, 0.0)


def _channels(value: float | Iterable[float] | None, neutral: float) -> list[float]:
    if value is None:
        return [neutral] * 3
    return [float(value)] * 3 if isinstance(value, int | float) else [float(each) for each in value]


def _default_size(backbone: keras.Model, converter: Any) -> int:
    sizes = (converter and converter.image_size and converter.image_size[0], backbone.inputs[0].shape[1])
    return int(next((size for size in sizes if size), DEFAULT_SIZE))


def _config(backbone: keras.Model, own: dict[str, Any]) -> dict[str, Any]:
    config = keras.saving.serialize_keras_object(backbone)
    # KerasHub leaves out arguments that the preset's own configuration has, as num_features of EfficientNet.
    config["config"] = own | config["config"]
    return {key: config[key] for key in ("module", "class_name", "config", "registered_name")}


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted({file for pattern in FILES for file in folder.glob(pattern)})
    return {file.name: sha256_of(file) for file in files}
