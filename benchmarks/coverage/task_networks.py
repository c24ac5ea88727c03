"""Networks of other tasks than classification, of the packages that people take them from: the rows of `tasks.py`.

Each is built with random weights; what a user would write is what stands here: a name that `reconv` takes, or a call
of the package. Nothing is downloaded. Networks of transformers have the sizes of `_SMALL_HF`, so that 25 families take
minutes; all others have their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from reconv.zoo import load_model


@dataclass(frozen=True)
class Network:
    """One row: how it is built, and what it is called with.

    Args:
        name: in the table. build: gives it. example: gives an input, as `trace` takes it.
        targets: what a training step passes as second argument; None: outputs alone are trained on.
    """

    name: str
    build: Callable[[], nn.Module]
    example: Callable[[], Any]
    targets: Callable[[], Any] | None = None


NETWORKS: dict[str, Network] = {}


def _add(name: str, build: Callable[[], nn.Module], *shape: int, **options: Any) -> None:
    options.setdefault("example", lambda: torch.rand(shape))
    NETWORKS[name] = Network(name, build, **options)


def _called(path: str, *args: Any, **kwargs: Any) -> Callable[[], nn.Module]:
    """A call of a package's class or function, imported when it is built."""

    def build() -> nn.Module:
        module, _, attribute = path.partition(":")
        return getattr(import_module(module), attribute)(*args, **kwargs)  # type: ignore[no-any-return]

    return build


def _named(name: str) -> Callable[[], nn.Module]:
    return lambda: load_model(name)


# --- torchvision -----------------------------------------------------------------------------------------


def _boxes(size: int) -> list[dict[str, Tensor]]:
    box = torch.tensor([[size * 0.2, size * 0.2, size * 0.7, size * 0.8]])
    return [{"boxes": box, "labels": torch.ones(1, dtype=torch.int64), "masks": torch.ones(1, size, size).byte(),
             "keypoints": torch.tensor([[[size * 0.5, size * 0.5, 1.0]] * 17])} for _ in range(2)]  # fmt: skip


for _name in [
    "ssdlite320_mobilenet_v3_large",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "retinanet_resnet50_fpn",
    "fcos_resnet50_fpn",
    "ssd300_vgg16",
    "fasterrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "keypointrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "fasterrcnn_resnet50_fpn_v2",
    "maskrcnn_resnet50_fpn_v2",
]:
    _add(f"torchvision:{_name}", _named(f"torchvision:{_name}"), example=lambda: ([torch.rand(3, 128, 128)],),
         targets=lambda: _boxes(128))  # fmt: skip
for _name in [
    "lraspp_mobilenet_v3_large",
    "deeplabv3_mobilenet_v3_large",
    "fcn_resnet50",
    "deeplabv3_resnet50",
    "fcn_resnet101",
    "deeplabv3_resnet101",
]:
    _add(f"torchvision:{_name}", _named(f"torchvision:{_name}"), 1, 3, 96, 96)
for _name in ("r3d_18", "mc3_18", "r2plus1d_18"):
    _add(f"torchvision:{_name}", _named(f"torchvision:{_name}"), 1, 3, 8, 56, 56)
_add("torchvision:s3d", _named("torchvision:s3d"), 1, 3, 16, 224, 224)
for _name in ("mvit_v2_s", "swin3d_t"):
    _add(f"torchvision:{_name}", _named(f"torchvision:{_name}"), 1, 3, 16, 224, 224)
for _name in ("raft_small", "raft_large"):
    _add(f"torchvision:{_name}", _called(f"torchvision.models.optical_flow:{_name}", weights=None),
         example=lambda: (torch.rand(1, 3, 128, 128), torch.rand(1, 3, 128, 128)))  # fmt: skip

# --- segmentation_models_pytorch -------------------------------------------------------------------------

for _decoder in [
    "Unet",
    "UnetPlusPlus",
    "MAnet",
    "Linknet",
    "FPN",
    "PSPNet",
    "DeepLabV3",
    "DeepLabV3Plus",
    "PAN",
    "UPerNet",
    "Segformer",
]:
    for _encoder in ("resnet18", "mobilenet_v2", "efficientnet-b0"):
        _add(f"smp:{_decoder}/{_encoder}", _named(f"smp:{_decoder}/{_encoder}"), 1, 3, 64, 64)
_add("smp:DPT/tu-vit_tiny_patch16_224", _named("smp:DPT/tu-vit_tiny_patch16_224"), 1, 3, 224, 224)

# --- ultralytics -----------------------------------------------------------------------------------------

for _name in [
    "yolov8n",
    "yolov8n-seg",
    "yolov8n-pose",
    "yolov8n-cls",
    "yolov8n-obb",
    "yolov5n",
    "yolov3-tiny",
    "yolov6n",
    "yolov9t",
    "yolov10n",
    "yolo11n",
    "yolo11n-seg",
    "yolo11n-pose",
    "yolo11n-cls",
    "yolo11n-obb",
    "yolo12n",
    "yolo12n-seg",
    "yolo26n",
    "yolo26n-seg",
    "yolo26n-pose",
    "yolo26n-cls",
    "yolo26n-obb",
    "rtdetr-resnet50",
]:
    _add(f"ultralytics:{_name}", _named(f"ultralytics:{_name}"), 1, 3, 128, 128)

# --- transformers ----------------------------------------------------------------------------------------

_VIT = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128, "image_size": 64,
        "patch_size": 16}  # fmt: skip
_STAGES = {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 2, 2, 1]}
_SMALL_HF: dict[str, dict[str, Any]] = {
    "ViTForImageClassification": _VIT,
    "DeiTForImageClassification": _VIT,
    "ViTMSNForImageClassification": _VIT,
    "BeitForImageClassification": _VIT,
    "Data2VecVisionForImageClassification": _VIT,
    "Dinov2ForImageClassification": {**_VIT, "mlp_ratio": 2},
    "DPTForDepthEstimation": {**_VIT, "num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3], "is_hybrid": False,
                              "neck_hidden_sizes": [16, 32, 32, 64], "fusion_hidden_size": 32},
    "YolosForObjectDetection": {**_VIT, "image_size": [64, 64], "num_detection_tokens": 10},
    "ResNetForImageClassification": {**_STAGES, "embedding_size": 16},
    "RegNetForImageClassification": {**_STAGES, "embedding_size": 16, "groups_width": 8},
    "ConvNextForImageClassification": _STAGES,
    "ConvNextV2ForImageClassification": _STAGES,
    "BitForImageClassification": {**_STAGES, "embedding_size": 16, "num_groups": 4},
    "PoolFormerForImageClassification": {**_STAGES},
    "MobileNetV1ForImageClassification": {"depth_multiplier": 0.25},
    "MobileNetV2ForImageClassification": {"depth_multiplier": 0.35},
    "MobileViTForImageClassification": {"image_size": 64},
    "MobileViTV2ForImageClassification": {"image_size": 64, "width_multiplier": 0.5},
    "EfficientNetForImageClassification": {},
    "SwinForImageClassification": {"image_size": 64, "embed_dim": 24, "depths": [1, 2, 1], "num_heads": [1, 2, 4],
                                   "window_size": 4},
    "Swinv2ForImageClassification": {"image_size": 64, "embed_dim": 24, "depths": [1, 2, 1], "num_heads": [1, 2, 4],
                                     "window_size": 4},
    "Swin2SRForImageSuperResolution": {"image_size": 32, "embed_dim": 24, "depths": [2, 2], "num_heads": [2, 2],
                                       "window_size": 4, "upscale": 2},
    "SegformerForSemanticSegmentation": {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1],
                                         "decoder_hidden_size": 32},
    "GLPNForDepthEstimation": {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 1, 1], "decoder_hidden_size": 32},
    "PvtForImageClassification": {"image_size": 64, "hidden_sizes": [16, 32, 40, 64], "depths": [1, 1, 1, 1]},
    "PvtV2ForImageClassification": {"image_size": 64, "hidden_sizes": [16, 32, 40, 64], "depths": [1, 1, 1, 1]},
    "CvtForImageClassification": {"embed_dim": [16, 32, 64], "num_heads": [1, 2, 4], "depth": [1, 1, 2]},
    "FocalNetForImageClassification": {"image_size": 64, "embed_dim": 24, "depths": [1, 1, 1, 1]},
    "LevitForImageClassification": {"image_size": 64},
    "TextNetForImageClassification": {},
    "HieraForImageClassification": {"image_size": [64, 64], "embed_dim": 24, "depths": [1, 1, 1, 1],
                                    "num_heads": [1, 2, 4, 8]},
    "TimesformerForVideoClassification": {**_VIT, "num_frames": 4},
    "VideoMAEForVideoClassification": {**_VIT, "num_frames": 4},
    "UperNetForSemanticSegmentation": {"hidden_size": 32, "auxiliary_channels": 32},
}  # fmt: skip
_SHAPES = {"TimesformerForVideoClassification": (1, 4, 3, 64, 64), "VideoMAEForVideoClassification": (1, 4, 3, 64, 64),
           "Swin2SRForImageSuperResolution": (1, 3, 32, 32)}  # fmt: skip


def _of_transformers(kind: str, values: dict[str, Any]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        found = getattr(import_module("transformers"), kind)
        return found(found.config_class(**values))  # type: ignore[no-any-return]

    return build


for _name, _values in _SMALL_HF.items():
    _shape = _SHAPES.get(_name, (1, 3, 64, 64))
    _add(f"transformers:{_name}", _of_transformers(_name, _values),
         example=lambda shape=_shape: {"pixel_values": torch.rand(shape)})  # fmt: skip

# --- pytorchcv -------------------------------------------------------------------------------------------

for _name in [
    "nin_cifar10",
    "resnet18_wd4",
    "seresnet10",
    "igcv3_wd4",
    "sqnxt23_w1",
    "shufflenet_g1_wd4",
    "shufflenetv2_wd4",
    "menet108_8x1_g3",
    "peleenet",
    "darknet_tiny",
    "diracnet18v2",
    "bamresnet18",
    "cbamresnet18",
    "airnet50_1x64d_r2",
    "bagnet9",
    "hardnet39ds",
    "vovnet27s",
    "fdmobilenet_wd4",
    "mixnet_s",
    "spnasnet",
    "dpn68",
    "sparsenet121",
    "pyramidnet110_a48_cifar10",
    "condensenet74_c8_g8",
]:
    _add(f"pytorchcv:{_name}", _called("pytorchcv.model_provider:get_model", _name, pretrained=False), 1, 3,
         *((32, 32) if "cifar" in _name else (224, 224) if "bagnet" not in _name else (64, 64)))  # fmt: skip
for _name in ("lednet_cityscapes", "dabnet_cityscapes", "sinet_cityscapes", "simplepose_mobile_mobilenet_w1_coco"):
    _add(f"pytorchcv:{_name}", _called("pytorchcv.model_provider:get_model", _name, pretrained=False), 1, 3, 256, 256)

# --- medical images --------------------------------------------------------------------------------------

_MONAI = "monai.networks.nets:"
for _name, _values, _side in (
    ("UNet", {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": (8, 16, 32), "strides": (2, 2)}, 32),
    ("BasicUNet", {"spatial_dims": 2, "features": (16, 16, 32, 64, 128, 16)}, 64),
    ("BasicUNetPlusPlus", {"spatial_dims": 2, "features": (16, 16, 32, 64, 128, 16)}, 64),
    ("AttentionUnet", {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "channels": (8, 16, 32),
                       "strides": (2, 2)}, 64),
    ("SegResNet", {"spatial_dims": 3, "in_channels": 1, "out_channels": 2}, 32),
    ("DynUNet", {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "kernel_size": [3, 3, 3],
                 "strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "filters": [8, 16, 32]}, 32),
    ("VNet", {"spatial_dims": 3}, 32),
    ("HighResNet", {"spatial_dims": 3}, 16),
    ("DenseNet121", {"spatial_dims": 2, "in_channels": 1, "out_channels": 2}, 64),
    ("SEResNet50", {"spatial_dims": 2, "in_channels": 1}, 64),
    ("AutoEncoder", {"spatial_dims": 2, "in_channels": 1, "out_channels": 1, "channels": (8, 16, 32),
                     "strides": (2, 2, 2)}, 64),
    ("UNETR", {"in_channels": 1, "out_channels": 2, "img_size": 32, "hidden_size": 48, "mlp_dim": 96, "num_heads": 4,
               "feature_size": 8}, 32),
    ("FlexibleUNet", {"in_channels": 1, "out_channels": 2, "backbone": "efficientnet-b0"}, 64),
):  # fmt: skip
    _dims = _values.get("spatial_dims", 3 if _name == "UNETR" else 2)
    _add(f"monai:{_name}", _called(f"{_MONAI}{_name}", **_values), 1, 1, *(_side,) * int(str(_dims)))

# --- super-resolution, text, sound, points ---------------------------------------------------------------

_SPANDREL = "spandrel.architectures"
_add("spandrel:RRDBNet", _called(f"{_SPANDREL}.ESRGAN.__arch.RRDB:RRDBNet", num_filters=32, num_blocks=4), 1, 3, 32, 32)
_add("spandrel:SRVGGNetCompact", _called(f"{_SPANDREL}.Compact.__arch.SRVGG:SRVGGNetCompact", num_conv=8), 1, 3, 32, 32)
_add("spandrel:SPAN", _called(f"{_SPANDREL}.SPAN.__arch.span:SPAN", num_in_ch=3, num_out_ch=3), 1, 3, 32, 32)
_add("spandrel:SwinIR", _called(f"{_SPANDREL}.SwinIR.__arch.SwinIR:SwinIR", img_size=32, window_size=8, embed_dim=24,
                                depths=(2, 2), num_heads=(2, 2)), 1, 3, 32, 32)  # fmt: skip
_add("spandrel:RealCUGAN", _called(f"{_SPANDREL}.RealCUGAN.__arch.upcunet_v3:UpCunet2x"), 1, 3, 64, 64)
_add("easyocr:CRAFT", _called("easyocr.craft:CRAFT", pretrained=False), 1, 3, 128, 128)
_add("easyocr:VGG-LSTM", _called("easyocr.model.vgg_model:Model", 1, 64, 64, 97),
     example=lambda: (torch.rand(1, 1, 64, 128), torch.zeros(1, 26, dtype=torch.long)))  # fmt: skip
_add("easyocr:ResNet-LSTM", _called("easyocr.model.model:Model", 1, 64, 64, 97),
     example=lambda: (torch.rand(1, 1, 32, 128), torch.zeros(1, 26, dtype=torch.long)))  # fmt: skip
_tasnet = {"msk_num_feats": 16, "msk_num_hidden_feats": 32, "msk_num_layers": 3, "msk_num_stacks": 2}
_add("torchaudio:ConvTasNet", _called("torchaudio.models:ConvTasNet", enc_num_feats=64, **_tasnet), 1, 1, 1600)
_add("torchaudio:wav2letter", _called("torchaudio.models:Wav2Letter", num_classes=20, num_features=13,
                                      input_type="mfcc"), 1, 13, 200)  # fmt: skip
_add("torchaudio:Conformer", _called("torchaudio.models:Conformer", 32, 4, 64, 2, 7),
     example=lambda: (torch.rand(1, 40, 32), torch.tensor([40])))  # fmt: skip
_add("transformers:Wav2Vec2ForCTC", _of_transformers("Wav2Vec2ForCTC", {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
    "conv_dim": (32, 32, 32), "conv_stride": (5, 2, 2), "conv_kernel": (10, 3, 3),
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}),
    example=lambda: {"input_values": torch.rand(1, 2000)})  # fmt: skip
_add("transformers:HubertModel", _of_transformers("HubertModel", {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
    "conv_dim": (32, 32, 32), "conv_stride": (5, 2, 2), "conv_kernel": (10, 3, 3),
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}),
    example=lambda: {"input_values": torch.rand(1, 2000)})  # fmt: skip


class PointNet(nn.Module):
    """Points as a set: the same layers for each, the largest of all, and a learned turn of the input in front.

    Source: Qi, Su, Mo & Guibas, "PointNet", CVPR 2017.
    """

    def __init__(self, classes: int = 40):
        super().__init__()
        self.turn = nn.Sequential(*self._points(3, 64, 128))
        self.angle = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 9))
        self.points = nn.Sequential(*self._points(3, 64, 128, 256))
        self.head = nn.Sequential(nn.Linear(256, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, classes))

    @staticmethod
    def _points(*widths: int) -> list[nn.Module]:
        pairs = pairwise(widths)
        return [m for a, b in pairs for m in (nn.Conv1d(a, b, 1), nn.BatchNorm1d(b), nn.ReLU())]

    def forward(self, x: Tensor) -> Tensor:
        turn = self.angle(self.turn(x).amax(2)).view(-1, 3, 3) + torch.eye(3)
        return self.head(self.points((x.transpose(1, 2) @ turn).transpose(1, 2)).amax(2))  # type: ignore[no-any-return]


_add("PointNet (written out)", PointNet, 1, 3, 256)
