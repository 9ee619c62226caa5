"""Imports every family of networks, which fills the catalogue."""

from . import caffe, cnn, cnn_hand, detection, detection_more, language, ocr, ops, other, restoration, segmentation, speech, video, vision_more, vision_transformers  # noqa: F401
