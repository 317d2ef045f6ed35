"""Presets of KerasHub for docs/backbones.md: what KerasHub says of each, and the figure that its authors published."""

from typing import NamedTuple


class Preset(NamedTuple):
    """One line of the page.

    Attributes
    ----------
    name : of the preset; `backbone: hub/NAME`.
    features : values of an image with `pooling: avg`.
    figure : published accuracy on ImageNet's validation images in per cent, and what it is of.
    source : a key of `SOURCES`, or "-" for no figure.
    licence : of the weights, as their authors state it.
    choice : when to take it.
    """

    name: str
    features: int
    figure: str
    source: str
    licence: str
    choice: str = ""


SOURCES = {
    "a": "[DINOv2](https://github.com/facebookresearch/dinov2), README",
    "b": "[not by the authors](https://github.com/yberreby/dinov3-in1k-probes); they published none of these networks",
    "c": "[DeiT](https://github.com/facebookresearch/deit), README_deit.md",
    "d": "[Swin](https://github.com/microsoft/Swin-Transformer), README",
    "e": "[timm](https://github.com/huggingface/pytorch-image-models), results/results-imagenet.csv",
    "f": "[PaddleClas](https://github.com/PaddlePaddle/PaddleClas), README, and PP-HGNetV2.md for HGNetV2",
    "g": "[CLIP](https://arxiv.org/abs/2103.00020), table 10",
    "h": "[Keras](https://keras.io/api/applications/)",
}
APACHE, DINOV3 = "Apache-2.0", "DINOv3 License"
PRESETS = (
    Preset("dinov2_small", 384, "81.1 linear", "a", APACHE, "the backbone stays frozen: try it first"),
    Preset("dinov2_base", 768, "84.5 linear", "a", APACHE, "the backbone stays frozen, and time matters little"),
    Preset("dinov2_large", 1024, "86.3 linear", "a", APACHE),
    Preset("dinov2_with_registers_small", 384, "80.9 linear", "a", APACHE),
    Preset("dinov2_with_registers_base", 768, "84.6 linear", "a", APACHE),
    Preset("dinov3_vit_small_lvd1689m", 384, "81.4 linear, 512 pixels", "b", DINOV3),
    Preset("dinov3_vit_small_plus_lvd1689m", 384, "82.9 linear, 512 pixels", "b", DINOV3),
    Preset(
        "dinov3_vit_base_lvd1689m", 768, "85.0 linear, 512 pixels", "b", DINOV3, "the same, if its licence suits you"
    ),
    Preset("dinov3_vit_large_lvd1689m", 1024, "87.4 linear, 512 pixels", "b", DINOV3),
    Preset("deit_tiny_distilled_patch16_224_imagenet", 192, "74.5", "c", APACHE, "you want a small transformer"),
    Preset("deit_small_distilled_patch16_224_imagenet", 384, "81.2", "c", APACHE),
    Preset("deit_base_distilled_patch16_224_imagenet", 768, "83.4", "c", APACHE),
    Preset("deit_base_distilled_patch16_384_imagenet", 768, "85.2", "c", APACHE),
    Preset("swin_tiny_patch4_window7_224", 768, "81.2", "d", "MIT"),
    Preset("swin_small_patch4_window7_224", 768, "83.2", "d", "MIT"),
    Preset("swin_base_patch4_window7_224", 1024, "83.5", "d", "MIT"),
    Preset("vit_base_patch16_224_imagenet21k", 768, "-", "-", APACHE),
    Preset("siglip_base_patch16_224", 768, "-", "-", APACHE),
    Preset("siglip2_base_patch16_224", 768, "-", "-", APACHE),
    Preset("clip_vit_base_patch32", 768, "76.1 linear", "g", "MIT", "the images are no photographs"),
    Preset("clip_vit_base_patch16", 768, "80.2 linear", "g", "MIT"),
    Preset("efficientnet_b1_ft_imagenet", 1280, "78.8 at 256", "e", APACHE),
    Preset("efficientnet_b2_ra_imagenet", 1408, "80.6 at 288", "e", APACHE),
    Preset("efficientnet_b3_ra2_imagenet", 1536, "82.2 at 320", "e", APACHE),
    Preset("efficientnet_b5_sw_ft_imagenet", 2048, "85.9 at 448", "e", APACHE),
    Preset("efficientnet2_rw_t_ra2_imagenet", 1024, "82.4 at 288", "e", APACHE),
    Preset("csp_resnext_50_ra_imagenet", 2048, "80.6 at 256", "e", APACHE),
    Preset("csp_darknet_53_ra_imagenet", 1024, "80.1 at 256", "e", APACHE),
    Preset("resnet_vd_50_ssld_imagenet", 2048, "82.4", "f", APACHE, "you want a ResNet"),
    Preset("resnet_vd_101_ssld_imagenet", 2048, "83.7", "f", APACHE),
    Preset("hgnetv2_b4_ssld_stage2_ft_in1k", 2048, "83.6", "f", APACHE),
    Preset("mobilenet_v3_small_050_imagenet", 288, "57.9", "e", APACHE, "each megabyte counts"),
    Preset("mobilenet_v3_large_100_imagenet_21k", 960, "-", "-", APACHE),
    Preset("resnet_50_imagenet", 2048, "81.2 at 288", "e", APACHE),
    Preset("densenet_121_imagenet", 1024, "74.8", "e", APACHE),
    Preset("vgg_16_imagenet", 512, "71.6", "e", "BSD-3-Clause"),
    Preset("xception_41_imagenet", 2048, "79.0", "h", "MIT"),
    Preset("mit_b0_ade20k_512", 256, "-", "-", "NVIDIA: no commercial use"),
)
INTRODUCTION = """
## KerasHub

`pip install -c constraints.txt -e '.[hub]'`, then `backbone: hub/NAME`. These are some of its presets, with published
figures; KerasHub has more. Parameters are in millions, as KerasHub states them; those of CLIP and SigLIP include the
network for texts, which is not used. "Linear" means a linear classifier on frozen features, the nearest to the head
here. The other figures are of networks whose layers were all trained on ImageNet. KerasHub fetches the weights at the
first run; later runs need no connection. [licences.md](licences.md) has the sources of the licences. Times are known
for DINOv2-S alone, with random weights: 400 images at 224 take 42.8 s on two cores, start and decoding included
(`python -m benchmarks.hub_features`, Intel Xeon, Sapphire Rapids); the other presets were not at hand.

| backbone | parameters | features | top-1 | source | licence of the weights | take this when |
|---|---:|---:|---|---|---|---|
"""
# Measured by benchmarks.hub_features: peak memory of the stage.
FINE_TUNING = """
Fine-tuning a transformer:

- **Rate.** `lr` is the same for all backbones, and was chosen with EfficientNets. No rate was measured for
  transformers: their weights could not be fetched where Graft was measured. Published recipes train CLIP at 3e-5
  (Wortsman et al. 2022, arXiv 2109.01903), or lower the rate from block to block by a factor of 0.65 to 0.75 (Bao et
  al. 2022, arXiv 2106.08254). So start with `dvc exp run -S lr=3e-5 -S fine_tune.layer_decay=0.75`, and compare.
- **Memory.** DINOv2-S at 224 pixels, cut after block 6 of 12, takes 2,213 MiB with `fine_tune.batch_size: 8` and
  2,774 MiB with 16: 70 MiB more for each image, so the default of 64 takes about 6 GB. `extract` takes 651 MiB.
"""


def section() -> str:
    """Return the part of the page about KerasHub; it needs the extra `hub`."""
    import keras_hub

    stated = keras_hub.models.Backbone.presets
    rows = "".join(_row(preset, stated[preset.name]["metadata"]["params"]) for preset in PRESETS)
    sources = "".join(f"- ({key}) {source}.\n" for key, source in SOURCES.items())
    return f"{INTRODUCTION}{rows}\n{sources}{FINE_TUNING}"


def _row(preset: Preset, parameters: int) -> str:
    source = preset.source if preset.source == "-" else f"({preset.source})"
    cells = (
        f"hub/{preset.name}",
        f"{parameters / 1e6:.2f}",
        f"{preset.features:,}",
        preset.figure,
        source,
        preset.licence,
        preset.choice,
    )
    return f"| {' | '.join(cells)} |\n"
