// Compressed images to pixels, and back: JPEG (by libjpeg-turbo), PNG (inflated by zlib), GIF and
// BMP. The pixels are those that TensorFlow's decoders give for the same file.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tenon::image {

struct Options {
  int channels = 0;   // 1 grey, 2 grey and alpha, 3 colour, 4 colour and alpha; 0: as in the file
  bool wide = false;  // PNG: samples of 16 bits instead of 8
  bool first_frame = false;  // GIF: the other frames are left out
  // JPEG only.
  int ratio = 1;                   // 1, 2, 4 or 8: decoded at that fraction of the size
  bool smooth_upsampling = true;   // of the colour, where it is stored at a lower resolution
  bool fast_dct = false;           // the less exact integer transform
  bool recover_truncated = false;  // what is missing at the end becomes grey
};

struct Pixels {
  int64_t frames = 1, height = 0, width = 0, channels = 0;
  bool animation = false;  // the format can hold several frames
  bool wide = false;       // samples are uint16_t, else uint8_t
  std::shared_ptr<uint8_t[]> data;

  int64_t samples() const { return frames * height * width * channels; }
  // Memory for all samples. Error: resource_exhausted beyond 2^29 of them.
  Status allocate();
};

// Decodes a file by what its first bytes say it is. Errors: invalid_argument for damaged files and
// unknown formats, resource_exhausted. Thread-safe.
Result<Pixels> decode(std::string_view file, const Options& options);

// The pixels of one frame as a PNG file. `level` of compression: 0 to 9, or -1 for the usual one.
Result<std::string> encode_png(const Pixels& image, int level);

struct JpegOptions {
  int quality = 95;  // 0 to 100
  bool progressive = false;
  bool optimize_size = false;
  bool chroma_downsampling = true;
  bool per_centimetre = false;  // the unit of the density, else per inch
  int x_density = 300, y_density = 300;
  std::string xmp;  // metadata; empty: none
};

// The pixels of one frame, grey or colour, as a JPEG file.
Result<std::string> encode_jpeg(const Pixels& image, const JpegOptions& options);

// Sizes without the pixels (of a JPEG file).
Result<Pixels> read_jpeg_header(std::string_view file);

// The formats.
Result<Pixels> decode_jpeg(std::string_view file, const Options& options);
Result<Pixels> decode_png(std::string_view file, const Options& options);
Result<Pixels> decode_gif(std::string_view file, const Options& options);
Result<Pixels> decode_bmp(std::string_view file, const Options& options);
Result<Pixels> decode_pnm(std::string_view file, const Options& options);

}  // namespace tenon::image
