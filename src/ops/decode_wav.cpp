#include "ops/decode_wav.h"

#include <algorithm>

#include "ops/movement.h"
#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

uint64_t little_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

struct Wav {
  int64_t channels = 0, rate = 0;
  std::string_view data;
};

Result<Wav> parse(std::string_view text) {
  Wav wav;
  if (text.size() < 12 || text.substr(0, 4) != "RIFF" || text.substr(8, 4) != "WAVE")
    return invalid_argument("decode_wav: this is no WAV file");
  for (text.remove_prefix(12); text.size() >= 8;) {
    const std::string_view kind = text.substr(0, 4);
    const uint64_t size = little_endian(text.substr(4, 4));
    text.remove_prefix(8);
    const std::string_view chunk = text.substr(0, std::min<uint64_t>(size, text.size()));
    if (kind == "fmt ") {
      if (chunk.size() < 16) return invalid_argument("decode_wav: the format is cut off");
      if (little_endian(chunk.substr(0, 2)) != 1 || little_endian(chunk.substr(14, 2)) != 16)
        return unsupported("decode_wav: only 16-bit PCM");
      wav.channels = static_cast<int64_t>(little_endian(chunk.substr(2, 2)));
      wav.rate = static_cast<int64_t>(little_endian(chunk.substr(4, 4)));
    } else if (kind == "data") {
      wav.data = chunk;
    }
    // Chunks begin at even places.
    text.remove_prefix(std::min<uint64_t>(chunk.size() + size % 2, text.size()));
  }
  if (wav.channels < 1) return invalid_argument("decode_wav: the file has no format");
  return wav;
}

}  // namespace

Result<TensorTypes> DecodeWav::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  if (context.dtype(0) != DType::string) return invalid_argument("decode_wav needs a string");
  TRY(nn::expect_scalar(context, name, 0));
  if (channels > nn::kMaxExtent || samples > nn::kMaxExtent || channels == 0)
    return invalid_argument("decode_wav: channels or samples are out of range");
  return TensorTypes{{DType::f32, Shape{Dim(samples), Dim(channels)}}, {DType::i32, Shape{}}};
}

Status DecodeWav::eval(EvalContext& context) const {
  if (context.in(0).elements() != 1) return invalid_argument("decode_wav needs one string");
  const Wav wav = TRY(parse(context.in(0).data<std::string>()[0]));
  const int64_t frames = static_cast<int64_t>(wav.data.size()) / (2 * wav.channels);
  const int64_t dims[] = {samples < 0 ? frames : samples, channels < 0 ? wav.channels : channels};
  TRY(checked_elements(dims, sizeof(float)));
  TRY(context.allocate(0, DType::f32, dims));
  float* out = context.out(0).mutable_data<float>();
  for (int64_t i = 0; i < dims[0]; ++i)
    for (int64_t k = 0; k < dims[1]; ++k) {
      const int64_t at = i * wav.channels + (k < wav.channels ? k : 0);
      const auto word =
          i >= frames ? 0 : little_endian(wav.data.substr(static_cast<size_t>(2 * at), 2));
      *out++ = static_cast<float>(static_cast<int16_t>(word)) / 32768;
    }
  context.out(1).mutable_data<int32_t>()[0] = static_cast<int32_t>(wav.rate);
  return {};
}

constinit const OpDef DecodeWav::def = define<DecodeWav>();
OpDefs decode_wav_ops() {
  return {&DecodeWav::def};
}

}  // namespace tenon
