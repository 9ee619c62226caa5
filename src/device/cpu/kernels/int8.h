// Convolutions and matrix products of 8-bit integers with exact i32 sums, and what becomes of the
// sums: themselves, real numbers, or 8-bit integers again. See gemm.h for the rules on pointers and
// scratch.
//
// The instructions multiply u8 by i8, so x of i8 is taken as x + 128 and weights of u8 as w - 128,
// zero points alike. Zero points are not subtracted from the operands; with sums over k
//   sum (x - zx)(w - zw) = sum x w - zx * sum w - zw * sum x + k * zx * zw
// where the sums of w are packed with the weights and those of x are only made when zw is not 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"

namespace tenon::cpu {

struct ByteSum;
struct ByteQuantizer;
struct Int8Plan;

enum class Int8Result : uint8_t { kI32, kF32, kU8, kI8 };

// What is done to the sums, per column. Arrays are padded to whole tiles.
struct Int8Epilogue {
  const int32_t* column_add = nullptr;
  const int32_t* weights_zero = nullptr;  // null: all 0
  const float* scale = nullptr;           // of all but kI32: clip(sum * scale + bias, low, high)
  const float* bias = nullptr;
  float low = 0;
  float high = 0;
  int32_t zero = 0;  // of kU8 and kI8, whose range low and high respect
  Int8Result result = Int8Result::kI32;
  bool saturates = false;  // low and high are all that a byte holds, and no sum is beyond an i32
};

// Rows that are multiplied by the same terms: pieces of 4 * groups neighbouring bytes each, from
// piece_offsets on. Their weights begin weights_begin bytes behind a panel's begin, with
// weights_skip bytes between those of a piece and of the next.
struct Int8Part {
  int64_t rows = 0;
  int64_t pieces = 0;
  int64_t groups = 0;
  const int32_t* piece_offsets = nullptr;
  int64_t weights_begin = 0;
  int64_t weights_skip = 0;
};

// y[m, n] from rows of bytes a[m, 4 * groups] and panels [ceil(n / 16)][groups][16][4]. With
// row_offsets rows begin there instead of lda apart, as most do, with y_offsets (bytes) those of y.
// With `parts`, which have m rows together, a row consists of pieces that may leave out terms. None
// of these where the table has rows_in_place.
struct Int8Block {
  int64_t m = 0;
  int64_t n = 0;
  int64_t groups = 0;
  const uint8_t* a = nullptr;
  int64_t lda = 0;
  const int32_t* row_offsets = nullptr;
  const Int8Part* parts = nullptr;
  int64_t part_count = 0;
  const int8_t* b = nullptr;
  const int32_t* row_sums = nullptr;  // of a; only read with weights_zero
  Int8Epilogue epilogue;
  char* y = nullptr;
  int64_t y_row_bytes = 0;
  const int32_t* y_offsets = nullptr;
};

// One pixel of a depthwise convolution: x[2 * pairs] points to the taps' channels, filter is
// [ceil(channels / 16)][pairs][2][8][2] with zero points already taken off.
struct Int8DepthwisePixel {
  int64_t channels = 0;
  int64_t pairs = 0;
  const uint8_t* const* x = nullptr;
  uint8_t flip = 0;  // 0x80 where x is signed
  int16_t x_zero = 0;
  const int16_t* filter = nullptr;
  Int8Epilogue epilogue;
  char* y = nullptr;
};

// A row of a depthwise convolution as one vector of n results, pixel by pixel: tap t of result i is
// x[t][i], whole vectors are read. The filter is [blocks][groups][64][4], a block for 64 results,
// over and over; the 64 sums of a block, and so the vectors of the epilogue, are in the order that
// interleaving the bytes of four taps within 16 channels gives.
struct Int8DepthwiseRow {
  int64_t n = 0;
  int64_t blocks = 0;
  int64_t groups = 0;  // of four taps
  int64_t taps = 0;
  const uint8_t* const* x = nullptr;
  const int8_t* filter = nullptr;
  Int8Epilogue epilogue;
  char* y = nullptr;
};

// Of averages (byte_averages.h): sums[i] of `rows` rows of n bytes, each ^ flip.
struct ByteColumns {
  const uint8_t* const* x = nullptr;
  int64_t rows = 0;
  int64_t n = 0;
  uint8_t flip = 0;
  uint16_t* sums = nullptr;  // whole vectors are written
};
// Behind it: y[i] = sum over t of sums[i + t * step] * factor + offset, i < n, rounded to bytes
// after `zero` unless as kF32. Whole vectors are read.
struct ByteMeans {
  const uint16_t* sums = nullptr;
  int64_t taps = 0;
  int64_t step = 0;
  int64_t n = 0;
  float factor = 0;
  float offset = 0;
  int32_t zero = 0;
  Int8Result result = Int8Result::kF32;
  char* y = nullptr;
};

// The inner loops of one instruction set.
struct Int8Table {
  const char* name = "";  // "avx2", "avx_vnni", "avx512", "avx512_vnni", "amx"
  int tile_rows = 0;
  int tile_columns = 0;
  int macs_per_instruction = 0;
  bool rows_in_place = false;  // rows of a are lda apart and in one piece
  void (*gemm_block)(const Int8Block& block) = nullptr;
  void (*depthwise_pixel)(const Int8DepthwisePixel& pixel) = nullptr;
  void (*depthwise_row)(const Int8DepthwiseRow& row) = nullptr;
  // Blocks [first, first + count) of the elements: byte_sums.h.
  void (*sum_bytes)(const ByteSum& sum, int64_t first, int64_t count) = nullptr;
  void (*quantize_bytes)(const ByteQuantizer& q, const float* x, uint8_t* y, int64_t n) = nullptr;
  void (*add_byte_rows)(const ByteColumns& columns) = nullptr;
  void (*average_sums)(const ByteMeans& means) = nullptr;
};

// The best one for this processor, and all that it can run. All read one packing: a panel's group
// of 16 columns by 4 is a vector of VNNI and a row of a tile of AMX.
const Int8Table& int8_kernels();
std::span<const Int8Table* const> supported_int8_tables();

// The packed form of weights [k, columns], per group of `groups`; `columns` are of one group. Group
// g has the columns g * columns on. Each of `pieces` parts of k is filled up to a multiple of 4.
struct Int8Weights {
  int64_t k = 0;
  int64_t columns = 0;
  int64_t groups = 1;
  bool is_signed = true;
  int64_t pieces = 1;
};
int64_t packed_int8_bytes(const Int8Weights& w);
void pack_int8(const Int8Weights& w, const void* weights, void* packed);

// What the epilogue reads, made of a product's parameters: int8_vectors().
struct Int8Vectors {
  int32_t* column_add = nullptr;
  int32_t* weights_zero = nullptr;
  float* scale = nullptr;
  float* bias = nullptr;
  bool any_zero = false;
  bool small = false;  // all results are far within the range of i32
};

// Sizes and parameters of a product. Dims as in ConvParams; a matrix product of m rows has in[2] =
// out[2] = m and kernels of 1.
struct Int8Params {
  int64_t batch = 1;
  int64_t in[3] = {1, 1, 1};
  int64_t out[3] = {1, 1, 1};
  int64_t kernel[3] = {1, 1, 1};
  int64_t stride[3] = {1, 1, 1};
  int64_t dilation[3] = {1, 1, 1};
  int64_t pad_begin[3] = {0, 0, 0};
  int64_t in_channels = 0;
  int64_t out_channels = 0;
  int64_t groups = 1;
  bool x_signed = false;
  bool weights_signed = true;
  Int8Result result = Int8Result::kI32;
  float low = 0;  // of the real result
  float high = 0;

  const void* x = nullptr;
  int32_t x_zero = 0;
  // x_zero will be 0, and x of u8: what lies outside need not be multiplied.
  bool outside_is_zero = false;
  const void* weights = nullptr;         // packed; of depthwise raw [taps, channels]
  const int8_t* depthwise = nullptr;     // of depthwise: pack_int8_depthwise(), or null
  std::span<const int32_t> taps;         // of depthwise: int8_depthwise_taps()
  bool sums_plane = false;               // depthwise: all weights are 1, the window is all of x
  const Int8Vectors* vectors = nullptr;  // of these very parameters; null: every run makes them
  const Int8Plan* plan = nullptr;      // of these sizes, sum and threads; null: every run makes it
  const void* weights_zero = nullptr;  // i8 or u8 as the weights: one, or one per channel
  int64_t weights_zeros = 0;
  const float* scale = nullptr;  // one, or one per channel
  int64_t scales = 0;
  const float* bias = nullptr;  // one per channel
  float y_scale = 1;
  int32_t y_zero = 0;
  void* y = nullptr;
  // Of y's bytes, which are one of its terms, and others, instead of them; for columns in blocks of
  // 64, of one group.
  const ByteSum* sum = nullptr;

  Int8Weights weight_form() const;
  // Runs of neighbouring bytes that a window of a group's channels consists of; 0 where windows
  // are not read as such.
  int64_t pieces() const;
  bool is_depthwise() const {
    return groups > 1 && groups == in_channels && groups == out_channels;
  }
};

// Whether there is one window, without what lies outside, and all weights are 1.
bool sums_int8_plane(const Int8Params& p);
// The filter of a depthwise convolution, raw in p.weights, for rows at a time (p.depthwise): zero
// points are taken off. 0 bytes: there is no such form of it. Without it int8_product goes pixel by
// pixel.
// What is left of a weight without its zero point may have 9 bits, so taps come as often as the
// largest of their weights need, each time with what fits into 8: this gives the tap of each place.
std::vector<int32_t> int8_depthwise_taps(const Int8Params& p);
int64_t int8_depthwise_bytes(const Int8Params& p);
void pack_int8_depthwise(const Int8Params& p, void* packed);

// The vectors of a product of packed weights, in memory of int8_vectors_bytes().
int64_t int8_vectors_bytes(const Int8Params& p);
Int8Vectors int8_vectors(const Int8Params& p, void* memory);

int64_t int8_scratch_bytes(const Int8Params& p, int threads,
                           const Int8Table& table = int8_kernels());
void int8_product(const Int8Params& p, ThreadPool& pool, void* scratch,
                  const Int8Table& table = int8_kernels());

}  // namespace tenon::cpu
