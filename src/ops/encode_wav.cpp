#include "ops/encode_wav.h"

#include <algorithm>
#include <cmath>

#include "ops/movement.h"
#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

constexpr int64_t kBytesPerSample = 2, kHeader = 44;

void put(std::string& out, int64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> 8 * i);
}

}  // namespace

Result<TensorTypes> EncodeWav::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  if (context.dtype(0) != DType::f32) return invalid_argument("encode_wav needs samples of f32");
  TRY(nn::expect_rank(context, name, 0, 2));
  TRY(require_indices(context, 1, name, "a rate"));
  TRY(nn::expect_scalar(context, name, 1));
  return TensorTypes{{DType::string, Shape{}}};
}

Status EncodeWav::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  if (x.rank() != 2 || context.in(1).elements() != 1)
    return invalid_argument("encode_wav needs samples [n, channels] and a rate");
  const int64_t channels = x.dim(1), rate = context.in(1).int_at(0);
  const int64_t bytes = x.elements() * kBytesPerSample;
  constexpr int64_t kMostChannels = 65535;
  if (channels < 1 || channels > kMostChannels || rate < 1 || rate > UINT32_MAX)
    return invalid_argument("encode_wav: the channels or the rate are out of range");
  if (bytes > int64_t{UINT32_MAX} - kHeader)
    return invalid_argument("encode_wav: too many samples for a file");
  std::string out = "RIFF";
  put(out, bytes + kHeader - 8, 4);
  out += "WAVEfmt ";
  put(out, 16, 4);
  put(out, 1, 2);  // PCM
  put(out, channels, 2);
  put(out, rate, 4);
  put(out, rate * channels * kBytesPerSample, 4);
  put(out, channels * kBytesPerSample, 2);
  put(out, 8 * kBytesPerSample, 2);
  out += "data";
  put(out, bytes, 4);
  for (const float sample : x.span<float>())
    put(out, nn::from_real<int16_t>(std::round(static_cast<double>(sample) * 32768)), 2);
  context.out(0).mutable_data<std::string>()[0] = std::move(out);
  return {};
}

constinit const OpDef EncodeWav::def = define<EncodeWav>();
OpDefs encode_wav_ops() {
  return {&EncodeWav::def};
}

}  // namespace tenon
