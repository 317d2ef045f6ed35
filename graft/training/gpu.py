"""What differs when a GPU trains: plain layers in mixed precision, the same bits on demand, and faults in one line."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

from graft.activations.tensorflow_engine import gpu_names
from graft.backbone.clone import cloned
from graft.backbone.frozen import POLICIES
from graft.core.errors import GraftError
from graft.settings import params
from graft.training.fast_gradients import DepthwiseByMatrices, takes_matrices, with_fast_gradients
from graft.training.precision import FLOAT32, supported_precision

# A depthwise convolution as matrices needs one number for each channel, output place and input place: at most this many
# bytes for a layer.
MATRIX_BYTES = 512 * 10**6
# Layers whose gradient TensorFlow computes by its kernel for depthwise convolutions. On a GPU that has no deterministic
# form (tensorflow#47174).
DEPTHWISE = (
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)


def training_gpu() -> str | None:
    """Return the name of the GPU that trains, None where TensorFlow sees none."""
    return next(iter(gpu_names()), None)


def prepare(settings: params.FineTune) -> str | None:
    """Set TensorFlow up for training, before it computes anything; print and return which GPU trains, if one does.

    Parameters
    ----------
    settings : `fine_tune` of params.yaml.

    Raises
    ------
    GraftError
        If the precision needs a GPU and there is none.
    """
    gpu = training_gpu()
    precision = supported_precision(settings.precision, gpu=gpu)
    if not gpu:
        return None
    print(f"training on {gpu} in {precision}{', deterministic' if settings.deterministic else ''}", flush=True)
    if precision == FLOAT32:
        # Else a GPU of today rounds the factors of each product to 11 bits.
        tf.config.experimental.enable_tensor_float_32_execution(False)
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    return gpu


def training_copy(model: keras.Model, settings: params.FineTune) -> keras.Model:
    """Return a copy of a network in the form in which this machine trains it.

    Parameters
    ----------
    model : functional; it does not change, and shares no weight with the copy.
    settings : `fine_tune` of params.yaml, with a precision in place of ``auto``.

    Raises
    ------
    GraftError
        If training is to be deterministic and a layer cannot.
    """
    if not training_gpu():
        return with_fast_gradients(model, settings.precision)
    return copy_for_gpu(model, settings.precision, settings.deterministic)


def copy_for_gpu(model: keras.Model, precision: str, deterministic: bool) -> keras.Model:
    """Return a copy of a network for a GPU, which has fast gradients of Keras's own layers.

    Parameters
    ----------
    model : functional; it does not change, and shares no weight with the copy. Its last layer is the head.
    precision : of the products and values of all layers but the head: a key of `POLICIES`. Weights are float32.
    deterministic : whether trainable depthwise convolutions are matrix products (`DepthwiseByMatrices`).

    Raises
    ------
    GraftError
        If `deterministic` and a layer cannot be a matrix product.
    """
    if deterministic:
        _require_matrices(model)

    def clone(layer: keras.Layer) -> keras.Layer:
        if deterministic and layer.trainable and isinstance(layer, DEPTHWISE):
            return DepthwiseByMatrices.from_config(layer.get_config())
        return cloned(layer)

    twin = keras.models.clone_model(model, clone_function=clone)
    twin.set_weights(model.get_weights())
    if precision != FLOAT32:
        for layer in twin.layers[:-1]:
            # Layers of KerasHub have others inside.
            for inner in layer._flatten_layers():  # noqa: SLF001
                inner.dtype_policy = POLICIES[precision]
    return twin


def require_deterministic(model: keras.Model, settings: params.FineTune) -> None:
    """Raise the error of `training_copy` before anything is computed."""
    if settings.deterministic and training_gpu():
        _require_matrices(model)


def _require_matrices(model: keras.Model) -> None:
    for layer in model.layers:
        if not isinstance(layer, DEPTHWISE) or not layer.trainable:
            continue
        if not takes_matrices(layer) or _matrix_bytes(layer) > MATRIX_BYTES:
            raise GraftError(
                f"fine_tune.deterministic: the gradient of layer {layer.name} ({type(layer).__name__}) is not the same "
                "each time on a GPU; set deterministic to false, or from_layer to a layer after this one"
            )


def _matrix_bytes(layer: keras.layers.DepthwiseConv2D) -> int:
    *inputs, channels = layer.input.shape[1:]
    return 4 * channels * math.prod(inputs) * math.prod(layer.output.shape[1:3])


@contextmanager
def faults(settings: params.FineTune) -> Iterator[None]:
    """Raise `GraftError` in place of TensorFlow's errors about the memory, and about what is not deterministic.

    Parameters
    ----------
    settings : `fine_tune` of params.yaml.
    """
    try:
        yield
    except (GraftError, tf.errors.OpError) as error:
        # The engine of computed maps names a key of its own.
        cause = error.__cause__ if isinstance(error, GraftError) else error
        if _is_of_memory(cause):
            memory = f"the memory of {training_gpu() or 'this machine'}"
            raise GraftError(
                f"fine_tune.batch_size: {settings.batch_size} images do not fit into {memory}; set a smaller number"
            ) from error
        if settings.deterministic and isinstance(error, tf.errors.UnimplementedError):
            raise GraftError(
                "fine_tune.deterministic: TensorFlow has no deterministic form of an operation of this network on "
                f"{training_gpu()}; set deterministic to false"
            ) from error
        raise


def _is_of_memory(error: BaseException | None) -> bool:
    # The second is what TensorFlow reports if the memory is full before a step has begun.
    return isinstance(error, tf.errors.ResourceExhaustedError) or "Dst tensor is not initialized" in str(error)
