"""The ONNX file of a compiled network: what it computes, what it says of itself, and what is refused."""

import json

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert import schema_py_generated as schema
from compiled_networks import pooled, relative_distance, run_compiled

from graft.backbone.build import build
from graft.backbone.compile import compile_network
from graft.core.errors import GraftError
from graft.serving.onnx_file import to_onnx
from graft.serving.onnx_operations import OPERATIONS
from graft.settings import backbone_table

DESCRIPTION = {"labels": ["blau", "grün"], "image_size": 16, "resize": "crop", "crops": 2}
# One of each family, the smallest. FUNCTIONS, below, has the operations of the slow ones.
QUICK = ("EfficientNetLite0", "MobileNetV3Small", "simple_cnn")
SLOW = (
    *("ConvNeXtTiny", "DenseNet121", "MobileNetV2_035"),
    *("EfficientNetB0", "EfficientNetV2B0", "InceptionResNetV2", "InceptionV3", "MobileNet", "NASNetMobile"),
    *("ResNeXt50", "ResNet50", "ResNet50V2", "VGG16", "VGG19", "Xception"),
)
PIXELS = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8)


def run_onnx(content, values):
    session = onnxruntime.InferenceSession(content)
    return session.run(None, {session.get_inputs()[0].name: values})


def test_a_network_of_each_family_is_one_of_those_that_are_tried():
    families = {backbone_table.get(name).module for name in (*QUICK, *SLOW)}
    assert families == {record.module for record in backbone_table.RECORDS}


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_the_features_of_every_backbone_family_are_those_of_litert(name):
    size = max(64, backbone_table.get(name).minimum_size)
    model = build(name, size, "none")
    if name == "EfficientNetV2B0":
        # With random weights its activations grow to a thousand million, and the features are rounding alone.
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.0
        model(np.random.default_rng(1).normal(size=(32, size, size, 3)), training=True)
    compiled = compile_network(pooled(model, "avg+max"), name)
    pixels = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    (found,), (expected,) = run_onnx(to_onnx(compiled, DESCRIPTION), pixels), run_compiled(compiled, pixels)
    assert found.shape == expected.shape
    assert np.ptp(expected) > 0
    assert relative_distance(found, expected) < 1e-4
    keras.backend.clear_session()


def compiled_of(function, size=16):
    """Compile a function of a float32 tensor (1, size, size, 3), made of the image's values from 0 to 1."""
    image = keras.Input((size, size, 3))
    return compile_network(keras.Model(image, function(image), name="small"), lambda images: images / 255)


ops, layers = keras.ops, keras.layers
# Each gives one tensor, or a list of them.
FUNCTIONS = {
    "same padding, uneven": layers.Conv2D(5, 3, strides=2, padding="same", bias_initializer="ones"),
    "dilation": layers.Conv2D(4, 3, dilation_rate=2, padding="same"),
    "groups": layers.Conv2D(6, 3, groups=3),
    "several kernels a channel": layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu6"),
    "mean at the edges": layers.AveragePooling2D(3, strides=2, padding="same"),
    "maximum at the edges": lambda x: layers.MaxPooling2D(3, strides=2, padding="same")(x - 2),
    "padding with a value": lambda x: ops.pad(layers.Conv2D(2, 3)(x), ((0, 0), (1, 2), (0, 3), (0, 0)), "constant", 7),
    "constant of one axis": lambda x: layers.Conv2D(3, 3)(x) * np.array([1, 2, 3], np.float32),
    "constant of two axes": lambda x: layers.Conv2D(3, 3)(x) + np.arange(42, dtype=np.float32).reshape(14, 3),
    "concatenation of channels": lambda x: ops.concatenate([layers.Conv2D(2, 3)(x), layers.Conv2D(3, 3)(x)], axis=-1),
    "concatenation of rows": lambda x: ops.concatenate([x, layers.Conv2D(3, 3, padding="same")(x)], axis=1),
    "flattened map": lambda x: layers.Dense(4)(layers.Flatten()(layers.Conv2D(2, 3)(x))),
    "dense on a map": lambda x: layers.Dense(4, activation="relu")(layers.Conv2D(2, 3)(x)),
    "mean of channels": lambda x: ops.mean(layers.Conv2D(4, 3)(x), axis=-1),
    "mean of rows": lambda x: ops.mean(layers.Conv2D(4, 3)(x), axis=1),
    "mean with axes kept": lambda x: ops.mean(layers.Conv2D(4, 3)(x), axis=(1, 2), keepdims=True),
    "sum and minimum": lambda x: ops.sum(x, axis=(1, 2)) / (1 + ops.min(x, axis=(1, 2))),
    "slice with steps": lambda x: layers.Conv2D(4, 3)(x)[:, 1:-1:2, ::3, 1:],
    "slice of one channel": lambda x: layers.Conv2D(4, 3)(x)[..., 2],
    "channels turned round": lambda x: ops.stack([x[..., 2], x[..., 1], x[..., 0]], axis=-1),
    "squeeze and excite": lambda x: x * layers.Reshape((1, 1, 3))(ops.sigmoid(ops.mean(x, axis=(1, 2)))),
    "attention": lambda x: ops.softmax(ops.matmul(x[:, 0], ops.transpose(x[:, 1], (0, 2, 1))) * 3.0),
    "gelu": lambda x: ops.gelu(6 * x - 3, approximate=False),
    "gelu by tanh": lambda x: ops.gelu(6 * x - 3, approximate=True),
    "activations": lambda x: ops.hard_swish(6 * x - 3) + ops.tanh(x) + ops.relu6(9 * x) + ops.relu(x - 0.5),
    "roots and powers": lambda x: ops.rsqrt(x + 1) + ops.sqrt(x) + ops.exp(-x) + ops.log(x + 1) + ops.abs(x - 0.5),
    "extremes": lambda x: ops.maximum(x, 0.3) - ops.minimum(ops.square(x), 0.4),
    "two outputs": lambda x: [ops.softmax(ops.mean(x, axis=(1, 2))), ops.max(layers.Conv2D(4, 3)(x), axis=(1, 2))],
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_a_head_or_a_second_output_can_be_made_of_is_computed_alike(name):
    compiled = compiled_of(FUNCTIONS[name])
    found, expected = run_onnx(to_onnx(compiled, DESCRIPTION), PIXELS), run_compiled(compiled, PIXELS)
    assert len(found) == len(expected) == (2 if name == "two outputs" else 1)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_the_exported_classifier_gives_the_same_probabilities(compiled):
    network = compiled.classifier.read_bytes()
    content = to_onnx(network, DESCRIPTION)
    for seed in range(10):
        image = np.random.default_rng(seed).integers(0, 256, (1, 16, 16, 3), np.uint8)
        np.testing.assert_allclose(run_onnx(content, image)[0], run_compiled(network, image)[0], atol=1e-5)


def test_it_takes_an_rgb_image_and_gives_probabilities_by_these_names(compiled):
    session = onnxruntime.InferenceSession(to_onnx(compiled.classifier.read_bytes(), DESCRIPTION))
    (image,), (output,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.shape, image.type) == ("image", [1, 16, 16, 3], "tensor(uint8)")
    assert (output.name, output.shape, output.type) == ("probabilities", [1, 3], "tensor(float)")


def test_a_second_output_has_a_name_of_its_own():
    session = onnxruntime.InferenceSession(to_onnx(compiled_of(FUNCTIONS["two outputs"]), DESCRIPTION))
    assert [output.name for output in session.get_outputs()] == ["probabilities", "output_1"]


def test_its_metadata_have_the_labels_and_how_an_image_is_cropped(compiled):
    session = onnxruntime.InferenceSession(to_onnx(compiled.classifier.read_bytes(), DESCRIPTION))
    found = session.get_modelmeta().custom_metadata_map
    assert found["resize"] == "crop"
    assert {key: json.loads(found[key]) for key in ("labels", "image_size", "crops")} == {
        key: DESCRIPTION[key] for key in ("labels", "image_size", "crops")
    }


def test_the_bytes_are_the_same_under_any_hash_seed(compiled, run_python):
    code = (
        "import sys, hashlib, pathlib; from graft.serving.onnx_file import to_onnx; "
        "data = to_onnx(pathlib.Path(sys.argv[1]).read_bytes(), {'labels': ['a', 'b'], 'crops': 2}); "
        "print(hashlib.sha256(data).hexdigest())"
    )
    found = {run_python("-c", code, compiled.classifier, PYTHONHASHSEED=seed).stdout for seed in ("1", "2")}
    assert len(found) == 1
    assert len(found.pop().strip()) == 64


def test_its_version_is_one_that_runtimes_of_2022_read(compiled):
    model = onnx.load_from_string(to_onnx(compiled.classifier.read_bytes(), DESCRIPTION))
    assert ([each.version for each in model.opset_import], model.ir_version) == ([17], 8)


def test_maps_stay_with_their_channels_first_between_convolutions():
    compiled = compiled_of(lambda x: layers.Conv2D(2, 3)(ops.relu(layers.Conv2D(4, 3)(x) * np.float32(2))))
    model = onnx.load_from_string(to_onnx(compiled, DESCRIPTION))
    kinds = [node.op_type for node in model.graph.node]
    # The image once, and the result back.
    assert kinds.count("Transpose") == 2


def test_an_operation_that_is_not_covered_is_named_in_one_line():
    compiled = compiled_of(ops.sin)
    assert "SIN" not in OPERATIONS
    with pytest.raises(GraftError, match=r"^onnx: this network has the operation SIN, [^\n]+ export\.formats[^\n]*$"):
        to_onnx(compiled, DESCRIPTION)


def test_every_operation_of_the_table_is_one_that_litert_has():
    assert set(OPERATIONS) <= set(vars(schema.BuiltinOperator))
