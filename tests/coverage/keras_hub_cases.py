"""Backbones of keras_hub, built without presets: small configurations, random weights."""
import numpy as np

from harness import Case, shake, tensorflow_calls, uniform

VOCABULARY, LENGTH = 60, 12
TEXT = {"vocabulary_size": VOCABULARY, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
GROUPED = {"vocabulary_size": VOCABULARY, "num_layers": 2, "num_query_heads": 4, "num_key_value_heads": 2,
           "hidden_dim": 16, "intermediate_dim": 32}
HEADS = {"head_dim": 8}
GEMMA = {**GROUPED, **HEADS}
VIT = {"image_shape": (32, 32, 3), "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16}
SMOL = {"vocabulary_size": VOCABULARY, "hidden_dim": 16, "intermediate_dim": 32, "num_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "attention_bias": False, "attention_dropout": 0.0,
        "rope_layer_enabled_list": [True, False], "layer_types": ["full_attention", "full_attention"],
        "mlp_bias": False, "layer_norm_epsilon": 1e-6, "max_position_embeddings": 64, "rope_theta": 10000.0,
        "partial_rotary_factor": 1.0}
T5GEMMA = {"vocabulary_size": VOCABULARY}
for part in ("encoder", "decoder"):
    T5GEMMA |= {f"{part}_hidden_dim": 16, f"{part}_intermediate_dim": 32, f"{part}_num_layers": 2,
                f"{part}_num_attention_heads": 4, f"{part}_num_key_value_heads": 2, f"{part}_head_dim": 8,
                f"{part}_layer_types": ["full_attention", "sliding_attention"]}
T5GEMMA |= {"cross_attention_hidden_size": 16, "sliding_window": 4, "attn_logit_softcapping": 50.0}
RESNET = {"input_conv_filters": [64], "input_conv_kernel_sizes": [7], "stackwise_num_filters": [64, 16, 16],
          "stackwise_num_blocks": [1, 2, 1], "stackwise_num_strides": [1, 2, 2]}
CSP = {"stem_filters": 8, "stem_kernel_size": 3, "stem_strides": 1, "stackwise_depth": [1, 2, 1],
       "stackwise_strides": [1, 2, 2], "stackwise_num_filters": [8, 16, 16], "expand_ratio": [2.0, 1.0, 1.0],
       "bottle_ratio": [0.5, 1.0, 1.0], "block_ratio": [1.0, 0.5, 0.5]}
MIT = {"layerwise_depths": [1, 1], "num_layers": 2, "layerwise_num_heads": [1, 2], "layerwise_sr_ratios": [4, 2],
       "max_drop_path_rate": 0.1, "layerwise_patch_sizes": [7, 3], "layerwise_strides": [4, 2],
       "hidden_dims": [8, 16], "image_shape": (64, 64, 3)}
EFFICIENTNET = {"stackwise_width_coefficients": [0.5] * 3, "stackwise_depth_coefficients": [1.0] * 3,
                "stackwise_kernel_sizes": [3, 3, 5], "stackwise_num_repeats": [1, 2, 2],
                "stackwise_input_filters": [32, 16, 24], "stackwise_output_filters": [16, 24, 40],
                "stackwise_expansion_ratios": [1, 6, 6], "stackwise_squeeze_and_excite_ratios": [0.25] * 3,
                "stackwise_strides": [1, 2, 2], "num_features": 32}
HGNET = {"depths": [1, 1], "embedding_size": 8, "hidden_sizes": [16, 32], "stem_channels": [3, 8, 8],
         "hidden_act": "relu", "use_learnable_affine_block": False,
         "stackwise_stage_filters": [[8, 8, 16, 1, 3, 3], [16, 8, 32, 1, 3, 3]], "apply_downsample": [False, True],
         "use_lightweight_conv_block": [False, False], "image_shape": (64, 64, 3)}
VITDET = {"hidden_size": 16, "num_layers": 2, "intermediate_dim": 32, "num_heads": 2,
          "global_attention_layer_indices": [1], "image_shape": (64, 64, 3), "patch_size": 16,
          "num_output_channels": 8, "window_size": 2}
MOBILENET = {"stackwise_expansion": [[16], [24, 36]], "stackwise_num_blocks": [1, 2],
             "stackwise_num_filters": [[8], [16, 16]], "stackwise_kernel_size": [[3], [5, 5]],
             "stackwise_num_strides": [[2], [2, 1]], "stackwise_se_ratio": [[0.25], [None, 0.25]],
             "stackwise_activation": [["relu"], ["hard_swish", "hard_swish"]], "stackwise_padding": [[1], [2, 2]],
             "output_num_filters": 32, "depthwise_filters": 16, "depthwise_stride": 1, "depthwise_residual": True,
             "last_layer_filter": 24, "image_shape": (64, 64, 3)}

# name: class, arguments; values that are functions of keras_hub are called first.
CONFIGURATIONS = {
    "albert": ("AlbertBackbone", {**TEXT, "embedding_dim": 8}),
    "bart": ("BartBackbone", TEXT),
    "bert": ("BertBackbone", TEXT),
    "bloom": ("BloomBackbone", TEXT),
    "deberta_v3": ("DebertaV3Backbone", {**TEXT, "bucket_size": 8, "max_sequence_length": 32}),
    "distil_bert": ("DistilBertBackbone", TEXT),
    "electra": ("ElectraBackbone", {"vocab_size": VOCABULARY, "embedding_dim": 8,
                                    **{k: v for k, v in TEXT.items() if k != "vocabulary_size"}}),
    "esm2": ("ESM2Backbone", TEXT),
    "esm": ("ESMBackbone", {**TEXT, "use_pre_layer_norm": True}),
    "f_net": ("FNetBackbone", {k: v for k, v in TEXT.items() if k != "num_heads"}),
    "falcon": ("FalconBackbone", {"num_attention_heads": 2, **{k: v for k, v in TEXT.items() if k != "num_heads"}}),
    "gemma": ("GemmaBackbone", GEMMA),
    "gemma2": ("GemmaBackbone", {**GEMMA, "use_post_ffw_norm": True, "use_post_attention_norm": True,
                                 "attention_logit_soft_cap": 50.0, "final_logit_soft_cap": 30.0,
                                 "use_sliding_window_attention": True, "sliding_window_size": 4}),
    "gemma3": ("Gemma3Backbone", {**GEMMA, "image_size": 32, "use_sliding_window_attention": True,
                                  "sliding_window_size": 4}),
    "gpt2": ("GPT2Backbone", TEXT),
    "gpt_neo_x": ("GPTNeoXBackbone", TEXT),
    "gpt_oss": ("GptOssBackbone", {**GROUPED, "num_experts": 3, "sliding_window": 4, "head_dim": 8}),
    "llama": ("LlamaBackbone", GROUPED),
    "llama3": ("Llama3Backbone", GROUPED),
    "mistral": ("MistralBackbone", {**GROUPED, "sliding_window": 4}),
    "mixtral": ("MixtralBackbone", {**GROUPED, "num_experts": 3, "sliding_window": 4}),
    "moonshine": ("MoonshineBackbone", {"vocabulary_size": VOCABULARY, "filter_dim": 16, "encoder_num_layers": 1,
                                        "decoder_num_layers": 1, "hidden_dim": 16, "intermediate_dim": 32,
                                        "encoder_num_heads": 2, "decoder_num_heads": 2}),
    "opt": ("OPTBackbone", TEXT),
    "phi3": ("Phi3Backbone", GROUPED),
    "qwen": ("QwenBackbone", GROUPED),
    "qwen3": ("Qwen3Backbone", {**GROUPED, **HEADS}),
    "qwen3_5": ("Qwen3_5Backbone", {**GROUPED, **HEADS, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
                                    "linear_key_head_dim": 8, "linear_value_head_dim": 8}),
    "qwen3_moe": ("Qwen3MoeBackbone", {**GROUPED, "moe_intermediate_dim": 16, "num_experts": 4, "top_k": 2}),
    "qwen_moe": ("QwenMoeBackbone", {**GROUPED, "moe_intermediate_dim": 16, "shared_expert_intermediate_dim": 32,
                                     "num_experts": 4, "top_k": 2}),
    "roberta": ("RobertaBackbone", TEXT),
    "roformer_v2": ("RoformerV2Backbone", {**TEXT, "head_size": 8}),
    "rwkv7": ("RWKV7Backbone", {"hidden_size": 16, "head_size": 8, "num_layers": 2, "vocabulary_size": VOCABULARY,
                                "intermediate_dim": 32, "gate_lora": 8, "mv_lora": 8, "aaa_lora": 8, "decay_lora": 8}),
    "smol_lm": ("SmolLMBackbone", SMOL),
    "smol_lm3": ("SmolLM3Backbone", SMOL),
    "t5": ("T5Backbone", TEXT),
    "t5_gemma": ("T5GemmaBackbone", T5GEMMA),
    "whisper": ("WhisperBackbone", {**TEXT, "num_mels": 8, "max_encoder_sequence_length": 40,
                                    "max_decoder_sequence_length": 32}),
    "xlm_roberta": ("XLMRobertaBackbone", TEXT),
    "xlnet": ("XLNetBackbone", TEXT),
    "csp_net": ("CSPNetBackbone", {**CSP, "block_type": "bottleneck_block", "stage_type": "csp", "stem_padding": "same",
                                   "image_shape": (64, 64, 3)}),
    "csp_net_dark": ("CSPNetBackbone", {**CSP, "block_type": "dark_block", "stage_type": "cs3", "stem_padding": "same", "image_shape": (64, 64, 3)}),
    "deit": ("DeiTBackbone", {**VIT, "intermediate_dim": 32}),
    "dense_net": ("DenseNetBackbone", {"stackwise_num_repeats": [2, 2], "growth_rate": 8, "image_shape": (64, 64, 3)}),
    "dino_v2": ("DINOV2Backbone", {**VIT, "intermediate_dim": 32, "num_register_tokens": 2,
                                   "position_embedding_shape": (32, 32, 3)}),
    "dino_v3": ("DINOV3Backbone", {**VIT, "intermediate_dim": 32}),
    "efficient_net": ("EfficientNetBackbone", {**EFFICIENTNET, "stackwise_block_types": ["v1"] * 3,
                                               "input_shape": (64, 64, 3)}),
    "efficient_net_v2": ("EfficientNetBackbone", {**EFFICIENTNET, "stackwise_block_types": ["fused", "unfused", "unfused"],
                                                  "input_shape": (64, 64, 3)}),
    "hg_net_v2": ("HGNetV2Backbone", HGNET),
    "mit": ("MiTBackbone", MIT),
    "mobile_net": ("MobileNetBackbone", MOBILENET),
    "res_net": ("ResNetBackbone", {**RESNET, "block_type": "bottleneck_block", "image_shape": (64, 64, 3)}),
    "res_net_open": ("ResNetBackbone", {**RESNET, "block_type": "basic_block", "use_pre_activation": True}),
    "res_net_vd": ("ResNetBackbone", {**RESNET, "input_conv_filters": [8, 8, 64], "input_conv_kernel_sizes": [3, 3, 3],
                                      "block_type": "basic_block_vd", "image_shape": (64, 64, 3)}),
    "retina_net": ("RetinaNetBackbone", {
        "image_encoder": lambda hub: hub.models.ResNetBackbone(**{
            **RESNET, "stackwise_num_filters": [64, 16, 16, 16], "stackwise_num_blocks": [1] * 4,
            "stackwise_num_strides": [1, 2, 2, 2]}, block_type="bottleneck_block", image_shape=(128, 128, 3)),
        "min_level": 3, "max_level": 6, "use_p5": False, "image_shape": (128, 128, 3)}),
    "deep_lab_v3": ("DeepLabV3Backbone", {
        "image_encoder": lambda hub: hub.models.ResNetBackbone(**RESNET, block_type="basic_block", image_shape=(64, 64, 3)),
        "spatial_pyramid_pooling_key": "P4", "low_level_feature_key": "P2", "upsampling_size": 4,
        "dilation_rates": [2, 3], "image_shape": (64, 64, 3)}),
    "seg_former": ("SegFormerBackbone", {
        "image_encoder": lambda hub: hub.models.MiTBackbone(**{
            **MIT, "layerwise_depths": [1] * 4, "num_layers": 4, "layerwise_num_heads": [1, 2, 2, 2],
            "layerwise_sr_ratios": [8, 4, 2, 1], "layerwise_patch_sizes": [7, 3, 3, 3],
            "layerwise_strides": [4, 2, 2, 2], "hidden_dims": [8, 16, 24, 32]}),
        "projection_filters": 8}),
    "sam": ("SAMBackbone", {
        "image_encoder": lambda hub: hub.models.ViTDetBackbone(**VITDET),
        "prompt_encoder": lambda hub: hub.layers.SAMPromptEncoder(
            hidden_size=8, image_embedding_size=(4, 4), input_image_size=(64, 64), mask_in_channels=8),
        "mask_decoder": lambda hub: hub.layers.SAMMaskDecoder(
            num_layers=1, hidden_size=8, intermediate_dim=16, num_heads=2, embedding_dim=8, num_multimask_outputs=3,
            iou_head_depth=2, iou_head_hidden_dim=8)}),
    "swin": ("SwinTransformerBackbone", {"image_shape": (64, 64, 3), "embed_dim": 8, "depths": [2, 2],
                                         "num_heads": [2, 2], "window_size": 4}),
    "vgg": ("VGGBackbone", {"stackwise_num_repeats": [1, 2], "stackwise_num_filters": [8, 16], "image_shape": (64, 64, 3)}),
    "vit": ("ViTBackbone", {**VIT, "mlp_dim": 32}),
    "vit_det": ("ViTDetBackbone", VITDET),
    "xception": ("XceptionBackbone", {"stackwise_conv_filters": [[8, 8], [16, 16], [16, 16, 16]],
                                      "stackwise_pooling": [False, True, False], "image_shape": (96, 96, 3)}),
    "clip": ("CLIPBackbone", {
        "vision_encoder": lambda hub: vision_encoder("clip", "CLIPVisionEncoder")(
            patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, intermediate_dim=32, image_shape=(32, 32, 3)),
        "text_encoder": lambda hub: text_encoder("clip", "CLIPTextEncoder")(
            vocabulary_size=VOCABULARY, embedding_dim=16, hidden_dim=16, num_layers=2, num_heads=2, intermediate_dim=32,
            max_sequence_length=LENGTH),
        "projection_dim": 8}),
    "siglip": ("SigLIPBackbone", {
        "vision_encoder": lambda hub: vision_encoder("siglip", "SigLIPVisionEncoder")(
            patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, intermediate_dim=32, image_shape=(32, 32, 3)),
        "text_encoder": lambda hub: text_encoder("siglip", "SigLIPTextEncoder")(
            vocabulary_size=VOCABULARY, embedding_dim=16, hidden_dim=16, num_layers=2, num_heads=2, intermediate_dim=32,
            max_sequence_length=LENGTH)}),
}


def inner(package, module, name):
    import importlib
    return getattr(importlib.import_module(f"keras_hub.src.models.{package}.{package}_{module}"), name)


def vision_encoder(package, name):
    return inner(package, "vision_encoder", name)


def text_encoder(package, name):
    return inner(package, "text_encoder", name)


def value_of(name, tensor, rng):
    """Plausible numbers for an input of this name and type; open sizes become small ones."""
    text = "token" in name or "mask" in name or "ids" in name or "positions" in name
    shape = [2 if i == 0 else size if size is not None else LENGTH if text else 64 for i, size in enumerate(tensor.shape)]
    dtype = tensor.dtype
    if name == "encoder_input_values":  # sound
        shape[1] = 2000
    if name == "encoder_features":  # a spectrogram
        shape[1] = 40
    if "padding_mask" in name or name == "attention_mask":
        mask = np.ones(shape)
        mask[0, -3:] = 0
        return mask.astype(dtype)
    if name in ("segment_ids", "labels"):
        return rng.integers(0, 2, shape).astype(dtype)
    if "int" in dtype or "bool" in dtype:
        return rng.integers(1, VOCABULARY, shape).astype(dtype)
    return uniform(rng, *shape).astype(dtype)


def backbone(name):
    def make(folder):
        import keras_hub
        rng = np.random.default_rng(len(name))
        kind, arguments = CONFIGURATIONS[name]
        arguments = {key: value(keras_hub) if callable(value) else value for key, value in arguments.items()}
        model = getattr(keras_hub.models, kind)(**arguments)
        shake(model, rng)
        model.export(folder / "saved_model", verbose=False)
        given = model.input if isinstance(model.input, dict) else {model.inputs[0].name: model.inputs[0]}
        values = {key: value_of(key, tensor, rng) for key, tensor in given.items()}
        return tensorflow_calls(folder, values if isinstance(model.input, dict) else list(values.values()))
    return make


def cases():
    for name in CONFIGURATIONS:
        yield Case("keras_hub", name, backbone(name))
