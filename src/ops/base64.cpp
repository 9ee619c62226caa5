#include "ops/base64.h"

#include <fmt/format.h>

#include "ops/movement.h"
#include "ops/registry.h"

namespace tenon {
namespace {

constexpr std::string_view kDigits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

Result<TensorTypes> infer_strings(const InferContext& context, std::string_view op) {
  TRY(require_tensors(context, op));
  if (context.dtype(0) != DType::string)
    return invalid_argument(
        fmt::format("{} needs strings, not {}", op, context.type(0).to_string()));
  return TensorTypes{context.type(0)};
}

std::string encoded(std::string_view bytes, bool pad) {
  std::string text;
  for (; !bytes.empty(); bytes.remove_prefix(std::min<size_t>(bytes.size(), 3))) {
    uint32_t bits = 0;
    for (size_t i = 0; i < 3; ++i)
      bits = bits << 8 | (i < bytes.size() ? static_cast<uint8_t>(bytes[i]) : 0);
    for (size_t i = 0; i < 4; ++i) {
      if (i <= bytes.size())
        text += kDigits[bits >> (18 - 6 * i) & 63];
      else if (pad)
        text += '=';
    }
  }
  return text;
}

Result<std::string> decoded(std::string_view text) {
  // Padding fills the last group of four.
  if (text.size() % 4 == 0)
    for (int i = 0; i < 2 && text.ends_with('='); ++i) text.remove_suffix(1);
  if (text.size() % 4 == 1) return invalid_argument("decode_base64: a string has a wrong length");
  std::string bytes;
  uint32_t bits = 0;
  int held = 0;
  for (const char c : text) {
    const size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos)
      return invalid_argument("decode_base64: a string has a character that is none of base 64");
    bits = bits << 6 | static_cast<uint32_t>(digit);
    if ((held += 6) < 8) continue;
    held -= 8;
    bytes += static_cast<char>(bits >> held & 0xFF);
  }
  return bytes;
}

}  // namespace

Result<TensorTypes> EncodeBase64::infer(const InferContext& context) const {
  return infer_strings(context, name);
}

Status EncodeBase64::eval(EvalContext& context) const {
  const auto in = context.in(0).span<std::string>();
  auto* out = context.out(0).mutable_data<std::string>();
  for (size_t i = 0; i < in.size(); ++i) out[i] = encoded(in[i], pad);
  return {};
}

Result<TensorTypes> DecodeBase64::infer(const InferContext& context) const {
  return infer_strings(context, name);
}

Status DecodeBase64::eval(EvalContext& context) const {
  const auto in = context.in(0).span<std::string>();
  auto* out = context.out(0).mutable_data<std::string>();
  for (size_t i = 0; i < in.size(); ++i) out[i] = TRY(decoded(in[i]));
  return {};
}

constinit const OpDef EncodeBase64::def = define<EncodeBase64>();
constinit const OpDef DecodeBase64::def = define<DecodeBase64>();
OpDefs base64_ops() {
  return {&EncodeBase64::def, &DecodeBase64::def};
}

}  // namespace tenon
