"""Presets of KerasHub, small and with random weights, in folders: one of each family, made without the network."""

import json
import re
from pathlib import Path

import numpy as np

TRANSFORMER = {"num_layers": 3, "hidden_dim": 32, "num_heads": 4, "patch_size": 8, "image_shape": (32, 32, 3)}
WITH_MLP = TRANSFORMER | {"intermediate_dim": 64}
IMAGES = {"image_shape": (64, 64, 3)}
RESNET = {"stackwise_num_filters": [64, 128], "stackwise_num_blocks": [1, 2], "stackwise_num_strides": [1, 2]}
# The class in keras_hub.models and its arguments, by a name of ours.
FAMILIES = {
    "dinov2": ("DINOV2Backbone", WITH_MLP | {"position_embedding_shape": (48, 48, 3)}),
    "dinov2_registers": (
        "DINOV2Backbone",
        WITH_MLP | {"position_embedding_shape": (48, 48, 3), "num_register_tokens": 4, "use_swiglu_ffn": True},
    ),
    "dinov3": ("DINOV3Backbone", WITH_MLP),
    "dinov3_gated": ("DINOV3Backbone", WITH_MLP | {"use_gated_mlp": True, "drop_path_rate": 0.1}),
    "vit": ("ViTBackbone", TRANSFORMER | {"mlp_dim": 64}),
    "vit_without_class_token": ("ViTBackbone", TRANSFORMER | {"mlp_dim": 64, "use_class_token": False}),
    "deit": ("DeiTBackbone", WITH_MLP),
    "clip": ("CLIPVisionEncoder", WITH_MLP),
    "metaclip": ("MetaCLIP2VisionEncoder", WITH_MLP),
    "siglip": ("SigLIPVisionEncoder", WITH_MLP),
    "swin": (
        "SwinTransformerBackbone",
        IMAGES | {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4, "patch_size": 4},
    ),
    "mit": (
        "MiTBackbone",
        IMAGES
        | {"layerwise_depths": [1, 1], "hidden_dims": [8, 16], "num_layers": 2, "layerwise_num_heads": [1, 2]}
        | {"layerwise_sr_ratios": [2, 1], "max_drop_path_rate": 0.1}
        | {"layerwise_patch_sizes": [7, 3], "layerwise_strides": [4, 2]},
    ),
    "resnet": (
        "ResNetBackbone",
        IMAGES | RESNET | {"input_conv_filters": [64], "input_conv_kernel_sizes": [7], "block_type": "basic_block"},
    ),
    "resnet_v2": (
        "ResNetBackbone",
        IMAGES
        | RESNET
        | {"input_conv_filters": [64], "input_conv_kernel_sizes": [7], "block_type": "bottleneck_block"}
        | {"use_pre_activation": True},
    ),
    "resnet_vd": (
        "ResNetBackbone",
        RESNET
        | {"input_conv_filters": [32, 32, 64], "input_conv_kernel_sizes": [3, 3, 3]}
        | {"block_type": "bottleneck_block_vd"},
    ),
    "efficientnet": (
        "EfficientNetBackbone",
        {"stackwise_width_coefficients": [1.0] * 2, "stackwise_depth_coefficients": [1.0] * 2}
        | {"stackwise_kernel_sizes": [3, 3], "stackwise_num_repeats": [1, 2], "stackwise_input_filters": [16, 16]}
        | {"stackwise_output_filters": [16, 24], "stackwise_expansion_ratios": [1, 6], "stackwise_strides": [1, 2]}
        | {"stackwise_squeeze_and_excite_ratios": [0.25] * 2, "stackwise_block_types": ["v1"] * 2}
        | {"width_coefficient": 1.0, "depth_coefficient": 1.0},
    ),
    "efficientnet_v2": (
        "EfficientNetBackbone",
        {"stackwise_width_coefficients": [0.8] * 2, "stackwise_depth_coefficients": [0.9] * 2}
        | {"stackwise_kernel_sizes": [3, 3], "stackwise_num_repeats": [2, 2], "stackwise_input_filters": [16, 24]}
        | {"stackwise_output_filters": [24, 32], "stackwise_expansion_ratios": [1, 4], "stackwise_strides": [1, 2]}
        | {"stackwise_squeeze_and_excite_ratios": [0, 0.25], "stackwise_block_types": ["fused", "unfused"]}
        | {"num_features": 64},
    ),
    "hgnetv2": (
        "HGNetV2Backbone",
        IMAGES
        | {"depths": [1, 1], "embedding_size": 8, "hidden_sizes": [16, 32], "stem_channels": [3, 8, 8]}
        | {"hidden_act": "relu", "use_learnable_affine_block": True, "apply_downsample": [False, True]}
        | {"stackwise_stage_filters": [[8, 8, 16, 1, 2, 3], [16, 16, 32, 1, 2, 3]]}
        | {"use_lightweight_conv_block": [False, True]},
    ),
    "mobilenet": (
        "MobileNetBackbone",
        IMAGES
        | {"stackwise_expansion": [[16], [32, 32]], "stackwise_num_blocks": [1, 2], "output_num_filters": 32}
        | {"stackwise_num_filters": [[8], [16, 16]], "stackwise_kernel_size": [[3], [3, 3]], "depthwise_filters": 8}
        | {"stackwise_num_strides": [[2], [2, 1]], "stackwise_se_ratio": [[None], [0.25, 0.25]]}
        | {"stackwise_activation": [["relu"], ["hard_swish"] * 2], "stackwise_padding": [[1], [1, 1]]}
        | {"depthwise_stride": 1, "depthwise_residual": False, "squeeze_and_excite": 0.5, "last_layer_filter": 32}
        | {"input_activation": "hard_swish", "output_activation": "hard_swish"},
    ),
    "cspnet": (
        "CSPNetBackbone",
        IMAGES
        | {"stem_filters": 8, "stem_kernel_size": 3, "stem_strides": 1, "stem_padding": "same"}
        | {"stackwise_depth": [1, 2], "stackwise_strides": [2, 2], "stackwise_num_filters": [16, 32]}
        | {"block_type": "dark_block", "stage_type": "csp", "bottle_ratio": [0.5], "expand_ratio": [2.0]},
    ),
    # With convolutions in groups, as ResNeXt.
    "csp_resnext": (
        "CSPNetBackbone",
        IMAGES
        | {"stem_filters": 16, "stem_kernel_size": 7, "stem_strides": 4, "stem_pooling": "max", "groups": 4}
        | {"stackwise_depth": [1, 2], "stackwise_strides": [1, 2], "stackwise_num_filters": [32, 64]}
        | {"block_type": "bottleneck_block", "stage_type": "csp", "block_ratio": [0.5], "cross_linear": True},
    ),
    "xception": (
        "XceptionBackbone",
        IMAGES | {"stackwise_conv_filters": [[8, 16], [16, 16, 16]], "stackwise_pooling": [True, False]},
    ),
    "densenet": ("DenseNetBackbone", IMAGES | {"stackwise_num_repeats": [2, 2], "growth_rate": 8}),
    "vgg": ("VGGBackbone", IMAGES | {"stackwise_num_repeats": [1, 1], "stackwise_num_filters": [8, 16]}),
    # Written as timm writes it: KerasHub converts it.
    "timm_resnet18": (
        "ResNetBackbone",
        {"stackwise_num_filters": [64, 128, 256, 512], "stackwise_num_blocks": [2] * 4, "block_type": "basic_block"}
        | {"stackwise_num_strides": [1, 2, 2, 2], "input_conv_filters": [64], "input_conv_kernel_sizes": [7]},
    ),
}
# Mean 0.5, deviation 0.25: unlike the scaling of any preset.
SCALE, OFFSET = 1 / 63.75, -2.0


def random_backbone(family: str):
    """Return KerasHub's network of a family, with random weights that make all of its values matter."""
    import keras_hub

    kind, arguments = FAMILIES[family]
    backbone = getattr(keras_hub.models, kind)(**arguments)
    generator = np.random.default_rng(0)
    for weight in backbone.trainable_weights:
        weight.assign(np.asarray(weight) + generator.normal(0, 0.05, weight.shape))
    return backbone


def write_preset(folder: Path, family: str = "dinov2") -> Path:
    """Write a preset with its image converter to a folder, as KerasHub or timm does."""
    import keras_hub

    if family.startswith("timm_"):
        return write_timm_model(folder, family)
    random_backbone(family).save_to_preset(str(folder))
    # KerasHub leaves some arguments out, as num_features of EfficientNet.
    file = folder / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"config": FAMILIES[family][1] | config["config"]}))
    size = FAMILIES[family][1].get("image_shape", (64, 64, 3))[:2]
    keras_hub.layers.ImageConverter(image_size=size, scale=SCALE, offset=[OFFSET] * 3).save_to_preset(str(folder))
    return folder


def write_timm_model(folder: Path, family: str) -> Path:
    """Write a ResNet of timm to a folder, as Hugging Face has it: config.json and model.safetensors."""
    from safetensors.numpy import save_file

    folder.mkdir()
    save_file(timm_weights(random_backbone(family)), folder / "model.safetensors")
    scaling = {"mean": [-OFFSET / SCALE / 255] * 3, "std": [1 / SCALE / 255] * 3, "interpolation": "bicubic"}
    config = {"architecture": family.removeprefix("timm_"), "num_classes": 1000, "num_features": 512}
    config["pretrained_cfg"] = {"input_size": [3, 64, 64]} | scaling
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def timm_weights(backbone) -> dict[str, np.ndarray]:
    """Return the weights of KerasHub's ResNet by timm's names."""
    weights = {}
    for layer in backbone.layers:
        for weight in layer.weights:
            value = np.asarray(weight)
            # Kernels are (outputs, inputs, height, width) in PyTorch.
            value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
            weights[f"{_name_in_timm(layer.name)}.{TIMM_WEIGHTS[weight.name]}"] = np.ascontiguousarray(value)
    return weights


# Of a convolution and of a BatchNorm.
TIMM_WEIGHTS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def _name_in_timm(name: str) -> str:
    if found := re.fullmatch(r"stack(\d)_block(\d)_(\d)_(conv|bn)", name):
        stack, block, number, kind = found.groups()
        inner = f"downsample.{int(kind == 'bn')}" if number == "0" else f"{kind}{number}"
        return f"layer{int(stack) + 1}.{block}.{inner}"
    return {"conv1_conv": "conv1", "conv1_bn": "bn1"}.get(name, name)
