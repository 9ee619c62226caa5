// Convolution layers of well-known networks at batch 1, each distinct shape with its count.
#pragma once

namespace tenon::bench {

struct Layer {
  const char* network;
  int size;  // of the square input
  int in;
  int out;
  int kernel;
  int stride;
  int groups;
  int count;
};

inline constexpr Layer kLayers[] = {
    {"resnet50", 224, 3, 64, 7, 2, 1, 1},
    {"resnet50", 56, 64, 64, 1, 1, 1, 1},
    {"resnet50", 56, 64, 64, 3, 1, 1, 3},
    {"resnet50", 56, 64, 256, 1, 1, 1, 4},
    {"resnet50", 56, 256, 64, 1, 1, 1, 2},
    {"resnet50", 56, 256, 128, 1, 2, 1, 1},
    {"resnet50", 56, 256, 512, 1, 2, 1, 1},
    {"resnet50", 28, 128, 128, 3, 1, 1, 4},
    {"resnet50", 28, 128, 512, 1, 1, 1, 4},
    {"resnet50", 28, 512, 128, 1, 1, 1, 3},
    {"resnet50", 28, 512, 256, 1, 2, 1, 1},
    {"resnet50", 28, 512, 1024, 1, 2, 1, 1},
    {"resnet50", 14, 256, 256, 3, 1, 1, 6},
    {"resnet50", 14, 256, 1024, 1, 1, 1, 6},
    {"resnet50", 14, 1024, 256, 1, 1, 1, 5},
    {"resnet50", 14, 1024, 512, 1, 2, 1, 1},
    {"resnet50", 14, 1024, 2048, 1, 2, 1, 1},
    {"resnet50", 7, 512, 512, 3, 1, 1, 3},
    {"resnet50", 7, 512, 2048, 1, 1, 1, 3},
    {"resnet50", 7, 2048, 512, 1, 1, 1, 2},
    {"mobilenet_v2", 224, 3, 32, 3, 2, 1, 1},
    {"mobilenet_v2", 112, 32, 32, 3, 1, 32, 1},
    {"mobilenet_v2", 112, 32, 16, 1, 1, 1, 1},
    {"mobilenet_v2", 112, 16, 96, 1, 1, 1, 1},
    {"mobilenet_v2", 112, 96, 96, 3, 2, 96, 1},
    {"mobilenet_v2", 56, 96, 24, 1, 1, 1, 1},
    {"mobilenet_v2", 56, 24, 144, 1, 1, 1, 2},
    {"mobilenet_v2", 56, 144, 144, 3, 1, 144, 1},
    {"mobilenet_v2", 56, 144, 24, 1, 1, 1, 1},
    {"mobilenet_v2", 56, 144, 144, 3, 2, 144, 1},
    {"mobilenet_v2", 28, 144, 32, 1, 1, 1, 1},
    {"mobilenet_v2", 28, 32, 192, 1, 1, 1, 3},
    {"mobilenet_v2", 28, 192, 192, 3, 1, 192, 2},
    {"mobilenet_v2", 28, 192, 32, 1, 1, 1, 2},
    {"mobilenet_v2", 28, 192, 192, 3, 2, 192, 1},
    {"mobilenet_v2", 14, 192, 64, 1, 1, 1, 1},
    {"mobilenet_v2", 14, 64, 384, 1, 1, 1, 4},
    {"mobilenet_v2", 14, 384, 384, 3, 1, 384, 4},
    {"mobilenet_v2", 14, 384, 64, 1, 1, 1, 3},
    {"mobilenet_v2", 14, 384, 96, 1, 1, 1, 1},
    {"mobilenet_v2", 14, 96, 576, 1, 1, 1, 3},
    {"mobilenet_v2", 14, 576, 576, 3, 1, 576, 2},
    {"mobilenet_v2", 14, 576, 96, 1, 1, 1, 2},
    {"mobilenet_v2", 14, 576, 576, 3, 2, 576, 1},
    {"mobilenet_v2", 7, 576, 160, 1, 1, 1, 1},
    {"mobilenet_v2", 7, 160, 960, 1, 1, 1, 3},
    {"mobilenet_v2", 7, 960, 960, 3, 1, 960, 3},
    {"mobilenet_v2", 7, 960, 160, 1, 1, 1, 2},
    {"mobilenet_v2", 7, 960, 320, 1, 1, 1, 1},
    {"mobilenet_v2", 7, 320, 1280, 1, 1, 1, 1},
    {"efficientnet_b0", 112, 32, 32, 3, 1, 32, 1},
    {"efficientnet_b0", 56, 144, 144, 5, 2, 144, 1},
    {"efficientnet_b0", 28, 240, 240, 5, 1, 240, 1},
    {"efficientnet_b0", 14, 672, 672, 5, 1, 672, 2},
    {"efficientnet_b0", 14, 672, 672, 5, 2, 672, 1},
    {"efficientnet_b0", 7, 1152, 1152, 5, 1, 1152, 3},
    {"inception_v3", 149, 32, 32, 3, 1, 1, 1},
    {"inception_v3", 147, 32, 64, 3, 1, 1, 1},
    {"inception_v3", 73, 80, 192, 3, 1, 1, 1},
    {"inception_v3", 35, 48, 64, 5, 1, 1, 3},
    {"inception_v3", 35, 96, 96, 3, 1, 1, 4},
    {"inception_v3", 8, 448, 384, 3, 1, 1, 2},
    {"unet", 256, 64, 64, 3, 1, 1, 3},
    {"unet", 128, 128, 128, 3, 1, 1, 2},
    {"unet", 16, 1024, 1024, 3, 1, 1, 1},
    {"densenet121", 56, 128, 32, 3, 1, 1, 6},
    {"densenet121", 28, 128, 32, 3, 1, 1, 12},
    {"densenet121", 14, 512, 128, 1, 1, 1, 3},
    {"densenet121", 7, 128, 32, 3, 1, 1, 16},
    {"resnext50", 56, 128, 128, 3, 1, 32, 3},
    {"resnext50", 28, 256, 256, 3, 1, 32, 3},
    {"resnext50", 14, 512, 512, 3, 1, 32, 5},
    {"resnext50", 7, 1024, 1024, 3, 1, 32, 2},
};

}  // namespace tenon::bench
