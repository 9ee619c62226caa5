"""Image classifiers that torchvision and timm have, at the sizes of the published measurements."""

from __future__ import annotations

from .catalogue import add


def vision(name: str, **options):
    def make():
        from torchvision import models

        if name in ("googlenet", "inception_v3"):
            return models.get_model(name, weights=None, aux_logits=False, init_weights=False, **options)
        return models.get_model(name, weights=None, **options)

    return make


def timm_model(name: str, **options):
    def make():
        import timm

        return timm.create_model(name, pretrained=False, exportable=True, **options)

    return make


def convmixer():
    """Its padding by name, which the exporter does not know, as numbers: all strides are 1, all kernels odd."""
    net = timm_model("convmixer_1536_20")()
    for part in net.modules():
        if getattr(part, "padding", None) == "same":
            part.padding = tuple(k // 2 for k in part.kernel_size)
    return net


def reparameterised(name: str):
    def make():
        from timm.utils.model import reparameterize_model

        return reparameterize_model(timm_model(name)().eval())

    return make


def images(side: int):
    return (3, side, side)


add("alexnet", vision("alexnet"), images(224), gmacs=0.714)
add("vgg16", vision("vgg16"), images(224), group="vgg", gmacs=15.47)
add("vgg19", vision("vgg19"), images(224), group="vgg", gmacs=19.63)
add("googlenet", vision("googlenet"), images(224), gmacs=1.50)
add("inception_v3", vision("inception_v3"), images(299), gmacs=5.71)
add("squeezenet1_1", vision("squeezenet1_1"), images(224), group="squeezenet", gmacs=0.35)
add("densenet121", vision("densenet121"), images(224), gmacs=2.83)
add("mobilenet_v2", vision("mobilenet_v2"), images(224), gmacs=0.30)
for depth, published in ((18, 1.81), (50, 4.09), (101, 7.80)):
    add(f"resnet{depth}", vision(f"resnet{depth}"), images(224), group=f"resnet{depth}", gmacs=published)

for variant, side, published in (("b0", 224, 0.39), ("b1", 240, 0.69), ("b3", 300, 1.83), ("b5", 456, 10.3)):
    add(f"efficientnet_{variant}", timm_model(f"efficientnet_{variant}"), images(side), group="efficientnet",
        gmacs=published)
add("convnext_tiny", timm_model("convnext_tiny"), images(224), gmacs=4.47)
add("hrnet_w18", timm_model("hrnet_w18"), images(224), gmacs=4.32)
add("inception_resnet_v2", timm_model("inception_resnet_v2"), images(299), gmacs=13.18)
add("regnety_016", timm_model("regnety_016"), images(224), gmacs=1.63)
add("repvgg_a0", reparameterised("repvgg_a0"), images(224), gmacs=1.36)
add("se_resnet50", timm_model("legacy_seresnet50"), images(224), gmacs=3.88)
add("se_resnext101_32x4d", timm_model("legacy_seresnext101_32x4d"), images(224), gmacs=8.02)
add("sknet50", timm_model("skresnext50_32x4d"), images(224), gmacs=4.50)
add("res2net101_v1b", timm_model("res2net101d"), images(224), gmacs=8.35)
add("convmixer_1536_20", convmixer, images(224), gmacs=48.96)
add("pnasnet5large", timm_model("pnasnet5large"), images(331), gmacs=25.04)
add("vovnet39", timm_model("vovnet39a"), images(224), gmacs=7.09)
