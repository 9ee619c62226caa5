"""Imports every family of networks, which fills the catalogue."""

from . import caffe, cnn, cnn_hand, language, ops, vision_transformers  # noqa: F401
