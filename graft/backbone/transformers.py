"""Vision transformers of KerasHub laid open: one layer after the other, so that a cut lies between any two blocks.

KerasHub's encoders are single layers, or graphs in which the position embeddings of DINOv3 cross every cut. Here each
block is a layer, and what it needs besides the tokens is a constant.
"""

from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from graft.backbone.clone import copied
from graft.backbone.token_layers import AttentionPool, ClassAndPlaces, Tokens, TransformerBlock, resized_positions

Layers = list[keras.Layer]


@dataclass
class Parts:
    """What a transformer consists of.

    Attributes
    ----------
    patches : the convolution that makes a token of each patch.
    first : class token, distillation token and registers with their positions, float32 (1, tokens, channels).
    positions : of the patches, float32 (1, places, channels), or None for rotary embeddings.
    blocks : the transformer's blocks.
    before, after : layers on all tokens before and after the blocks.
    class_token : whether the first token stands for the whole image.
    antialias : of the interpolation of positions.
    pooling : an attention pooling (SigLIP), or None.
    """

    patches: keras.layers.Conv2D
    first: np.ndarray
    positions: np.ndarray | None
    blocks: Layers
    before: Layers = field(default_factory=list)
    after: Layers = field(default_factory=list)
    class_token: bool = True
    antialias: bool = True
    pooling: keras.Layer | None = None


def _vit(backbone: keras.Model) -> Parts:
    embedding, encoder = backbone.layers[1], backbone.layers[2]
    positions = _array(embedding.position_embedding.embeddings)[np.newaxis]
    tokens = [_array(embedding.class_token)] if embedding.use_class_token else []
    parts = _with_first(embedding.patch_embedding, tokens, positions, encoder.encoder_layers)
    parts.after, parts.class_token = [encoder.layer_norm], embedding.use_class_token
    return parts


def _deit(backbone: keras.Model) -> Parts:
    embedding, encoder = backbone.layers[1], backbone.layers[2]
    tokens = [_array(embedding.class_token), _array(embedding.distillation_token)]
    positions = _array(embedding.position_embedding)
    parts = _with_first(embedding.patch_embedding, tokens, positions, encoder.encoder_layers)
    parts.after = [encoder.layer_norm]
    return parts


def _dinov2(backbone: keras.Model) -> Parts:
    embedding = backbone.embeddings
    positions, token = _array(embedding.position_embeddings), _array(embedding.cls_token)
    conv = embedding.patch_embeddings.projection
    parts = _with_first(conv, [token], positions, backbone.encoder.layers)
    if embedding.num_register_tokens:
        # They have no position.
        parts.first = np.concatenate([parts.first, _array(embedding.register_tokens)], axis=1)
    parts.after, parts.antialias = [backbone.layernorm], embedding.antialias_in_interpolation
    return parts


def _dinov3(backbone: keras.Model) -> Parts:
    embedding = backbone.embeddings
    first = [_array(embedding.cls_token)]
    if embedding.num_register_tokens:
        first.append(_array(embedding.register_tokens))
    conv = embedding.patch_embeddings.projection
    first_tokens = np.concatenate(first, axis=1)
    return Parts(conv, first_tokens, None, backbone.encoder.layers, after=[backbone.layernorm])


def _clip(backbone: keras.Model) -> Parts:
    embedding = backbone.embedding
    positions = _array(embedding.position_embedding(embedding.position_ids))
    token = _array(embedding.class_embedding)[np.newaxis, np.newaxis]
    parts = _with_first(embedding.patch_embedding, [token], positions, backbone.encoder_layers)
    parts.before = [backbone.pre_layer_norm]
    # MetaCLIP 2 has none.
    parts.after = [backbone.layer_norm] if hasattr(backbone, "layer_norm") else []
    return parts


def _siglip(backbone: keras.Model) -> Parts:
    embedding = backbone.embedding
    positions = _array(embedding.position_embedding.embeddings)[np.newaxis]
    parts = _with_first(embedding.patch_embedding, [], positions, backbone.encoder_layers)
    parts.after, parts.class_token, parts.pooling = [backbone.post_layer_norm], False, backbone.head
    return parts


# By the name of KerasHub's class.
TRANSFORMERS = {
    "ViTBackbone": _vit,
    "DeiTBackbone": _deit,
    "DINOV2Backbone": _dinov2,
    "DINOV3Backbone": _dinov3,
    "CLIPVisionEncoder": _clip,
    "MetaCLIP2VisionEncoder": _clip,
    "SigLIPVisionEncoder": _siglip,
}


def laid_open(backbone: keras.Model, image_size: int) -> keras.Model:
    """Return a transformer as a graph of one layer after the other, with copies of its weights.

    Parameters
    ----------
    backbone : of a class in `TRANSFORMERS`; it does not change.
    image_size : height and width of an image in pixels, a multiple of the patch. Position embeddings are interpolated.

    Returns
    -------
    keras.Model
        From scaled images (batch, image_size, image_size, 3). With a class token, to (batch, 1 + places, channels): the
        class token, then a token for each patch, row by row; without registers. SigLIP's attention pooling counts as
        a class token. Otherwise to a map (batch, height, width, channels).
    """
    parts = TRANSFORMERS[type(backbone).__name__](backbone)
    images = keras.Input((image_size, image_size, 3), name="images")
    x = copied(parts.patches, images, name="patches")
    side, channels, first = x.shape[1], x.shape[-1], parts.first.shape[1]
    x = keras.layers.Reshape((side**2, channels), name="places")(x)
    x = _tokens(x, parts)
    for number, layer in enumerate(parts.before):
        x = copied(layer, x, name=f"before_{number}")
    constants = _constants(backbone, image_size, first)
    for number, block in enumerate(parts.blocks):
        x = copied(TransformerBlock(block, constants), x, name=f"block_{number}")
    for number, layer in enumerate(parts.after):
        x = copied(layer, x, name=f"after_{number}")
    if parts.pooling is not None:
        x = copied(AttentionPool(parts.pooling, {}), x, name="attention_pool")
    elif not parts.class_token:
        x = keras.layers.Reshape((side, side, channels), name="map")(x)
    elif first > 1:
        x = ClassAndPlaces(first, name="class_and_places")(x)
    return keras.Model(images, x)


def _with_first(conv: keras.Layer, tokens: list[np.ndarray], positions: np.ndarray, blocks: Layers) -> Parts:
    """Return the parts of a transformer whose first positions are those of its first tokens."""
    count = len(tokens)
    first = np.concatenate([*tokens, np.zeros((1, 0, positions.shape[2]), np.float32)], axis=1) + positions[:, :count]
    return Parts(conv, first, positions[:, count:], blocks)


def _tokens(places: keras.KerasTensor, parts: Parts) -> keras.KerasTensor:
    layer = Tokens(parts.first.shape[1], parts.positions is not None, name="tokens")
    outputs = layer(places)
    weights = [parts.first] if parts.first.shape[1] else []
    if parts.positions is not None:
        weights.append(resized_positions(parts.positions, places.shape[1], parts.antialias))
    layer.set_weights(weights)
    return outputs


def _constants(backbone: keras.Model, image_size: int, first: int) -> dict[str, Any]:
    """Return what the blocks need besides tokens: for DINOv3 the rotary embeddings of the patches (Su et al. 2021)."""
    if type(backbone).__name__ != "DINOV3Backbone":
        return {}
    rotary = backbone.rope_embedding(np.zeros((1, image_size, image_size, 3), np.float32))
    return {"position_embeddings": tuple(map(_array, rotary)), "num_prefix_tokens": first}


def _array(value: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(value))
