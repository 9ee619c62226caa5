#include "ops/text_number.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <complex>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/string_hash.h"
#include "ops/movement.h"
#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

constexpr int64_t kMaxWidth = 1000;

Result<TensorTypes> from_strings(const InferContext& context, std::string_view op, DType out) {
  TRY(require_tensors(context, op));
  if (context.dtype(0) != DType::string)
    return invalid_argument(
        fmt::format("{} needs strings, not {}", op, context.type(0).to_string()));
  return TensorTypes{{out, context.shape(0)}};
}

// The whole text but white space around it.
template <typename T>
bool parse(std::string_view text, T& value) {
  constexpr std::string_view kSpace = " \t\n\v\f\r";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return false;
  text = text.substr(first, text.find_last_not_of(kSpace) - first + 1);
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  if constexpr (std::is_floating_point_v<T>) {
    const bool negative = text.starts_with('-');
    const size_t sign = negative ? 1 : 0;
    if (text.substr(sign).starts_with("0x") || text.substr(sign).starts_with("0X")) {
      uint64_t digits = 0;
      const char* end = text.data() + text.size();
      const auto read = std::from_chars(text.data() + sign + 2, end, digits, 16);
      value = static_cast<T>(digits) * (negative ? -1 : 1);
      return read.ec == std::errc{} && read.ptr == end;
    }
  }
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size()) return false;
  // Beyond the range are infinity and 0.
  if (std::is_floating_point_v<T> && error == std::errc::result_out_of_range)
    value = static_cast<T>(std::strtod(std::string(text).c_str(), nullptr));
  return error == std::errc{} || std::is_floating_point_v<T>;
}

}  // namespace

Result<TensorTypes> TextFromNumber::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  const DType t = context.dtype(0);
  if (!is_number(t) && t != DType::boolean && t != DType::string)
    return invalid_argument(
        fmt::format("{} needs numbers, not {}", name, context.type(0).to_string()));
  const bool known = style == "fixed" || style == "scientific" || style == "shortest";
  const bool fills = fill.empty() || (fill.size() == 1 && std::strchr(" 0+-", fill[0]) != nullptr);
  if (!known || !fills || precision > kMaxWidth || width > kMaxWidth)
    return invalid_argument("text_from_number: the format is not one there is");
  return TensorTypes{{DType::string, context.shape(0)}};
}

Status TextFromNumber::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const bool is_real = is_float(x.dtype()) || is_complex(x.dtype());
  const std::string start = "%" + fill + (width >= 0 ? std::to_string(width) : "") +
                            (precision >= 0 && is_real ? "." + std::to_string(precision) : "");
  const char* real = style == "scientific" ? "e" : style == "shortest" ? "g" : "f";
  const std::string format = start + (is_real                      ? real
                                      : is_unsigned_int(x.dtype()) ? "llu"
                                      : is_int(x.dtype())          ? "lld"
                                                                   : "s");
  std::vector<char> buffer(2 * kMaxWidth + 512);
  const auto print = [&](auto value) {
    std::snprintf(buffer.data(), buffer.size(), format.c_str(), value);
    return std::string(buffer.data());
  };
  const auto print_complex = [&](const auto& z) {
    return "(" + print(static_cast<double>(z.real())) + "," + print(static_cast<double>(z.imag())) +
           ")";
  };
  const auto padded = [&](std::string text) {
    if (width < 0) return text;
    if (precision >= 0) text.resize(std::min(text.size(), static_cast<size_t>(precision)));
    const auto wanted = static_cast<size_t>(std::max<int64_t>(width, 0));
    const std::string space(wanted - std::min(wanted, text.size()), ' ');
    return fill == "-" ? text + space : space + text;
  };
  for (int64_t i = 0; i < x.elements(); ++i) {
    std::string& out = context.out(0).mutable_data<std::string>()[i];
    if (is_float(x.dtype()))
      out = print(x.real_at(i));
    else if (x.dtype() == DType::c64)
      out = print_complex(x.data<std::complex<float>>()[i]);
    else if (x.dtype() == DType::c128)
      out = print_complex(x.data<std::complex<double>>()[i]);
    else if (is_unsigned_int(x.dtype()))
      out = print(static_cast<unsigned long long>(x.int_at(i)));
    else if (is_int(x.dtype()))
      out = print(static_cast<long long>(x.int_at(i)));
    else if (x.dtype() == DType::boolean)
      out = print(x.int_at(i) != 0 ? "true" : "false");
    else
      out = padded(x.data<std::string>()[i]);
  }
  return {};
}

Result<TensorTypes> NumberFromText::infer(const InferContext& context) const {
  if (!is_int(dtype) && dtype != DType::f32 && dtype != DType::f64)
    return unsupported(fmt::format("number_from_text does not make {}", dtype_name(dtype)));
  return from_strings(context, name, dtype);
}

Status NumberFromText::eval(EvalContext& context) const {
  const auto in = context.in(0).span<std::string>();
  Tensor& y = context.out(0);
  for (size_t i = 0; i < in.size(); ++i) {
    const bool fine = visit_real(dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      if constexpr (std::is_arithmetic_v<T>)
        return parse(in[i], y.mutable_data<T>()[i]);
      else
        return false;
    });
    if (!fine)
      return invalid_argument(
          fmt::format("'{}' is not a number of type {}", in[i], dtype_name(dtype)));
  }
  return {};
}

Result<TensorTypes> HashBucket::infer(const InferContext& context) const {
  if (buckets < 0) return invalid_argument("hash_bucket needs at least one bucket");
  if (!key.empty() && key.size() != 2) return invalid_argument("hash_bucket needs a key of two");
  return from_strings(context, name, DType::i64);
}

Status HashBucket::eval(EvalContext& context) const {
  const auto in = context.in(0).span<std::string>();
  for (size_t i = 0; i < in.size(); ++i) {
    const uint64_t hash = murmur        ? murmur_hash(in[i])
                          : key.empty() ? farm_fingerprint(in[i])
                                        : sip_hash(in[i], static_cast<uint64_t>(key[0]),
                                                   static_cast<uint64_t>(key[1]));
    context.out(0).mutable_data<int64_t>()[i] =
        static_cast<int64_t>(buckets == 0 ? hash : hash % static_cast<uint64_t>(buckets));
  }
  return {};
}

Result<TensorTypes> DecodeRaw::infer(const InferContext& context) const {
  TensorType out = TRY(from_strings(context, name, dtype))[0];
  if (dtype == DType::string || dtype == DType::none)
    return invalid_argument("decode_raw makes numbers");
  const auto element = static_cast<int64_t>(dtype_size(dtype));
  if (length < 0 || length % element != 0)
    return invalid_argument(
        fmt::format("decode_raw: {} bytes are no whole {}", length, dtype_name(dtype)));
  if (out.shape.ranked())
    out.shape.dims().push_back(length > 0 ? Dim(length / element) : Dim::unknown());
  return TensorTypes{out};
}

Status DecodeRaw::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const auto in = x.span<std::string>();
  const size_t element = dtype_size(dtype);
  const size_t size = length > 0 ? static_cast<size_t>(length) : in.empty() ? 0 : in[0].size();
  for (const std::string& text : in)
    if (length == 0 && (text.size() != size || size % element != 0))
      return invalid_argument(
          fmt::format("decode_raw: strings of {} bytes are not of equal length or no whole {}",
                      text.size(), dtype_name(dtype)));
  std::vector<int64_t> dims = x.dims();
  dims.push_back(static_cast<int64_t>(size / element));
  TRY(context.allocate(0, dtype, dims));
  auto* out = static_cast<char*>(context.out(0).mutable_raw());
  const size_t part = is_complex(dtype) ? element / 2 : element;
  for (const std::string& text : in) {
    const size_t given = std::min(size, text.size());
    std::copy_n(text.data(), given, out);
    std::fill_n(out + given, size - given, '\0');
    if (big_endian)
      for (size_t at = 0; at < size; at += part) std::reverse(out + at, out + at + part);
    out += size;
  }
  if (dtype == DType::boolean)
    for (int64_t i = 0; i < context.out(0).elements(); ++i) {
      auto* byte = static_cast<uint8_t*>(context.out(0).mutable_raw()) + i;
      *byte = *byte != 0;
    }
  return {};
}

constinit const OpDef TextFromNumber::def = define<TextFromNumber>();
constinit const OpDef NumberFromText::def = define<NumberFromText>();
constinit const OpDef HashBucket::def = define<HashBucket>();
constinit const OpDef DecodeRaw::def = define<DecodeRaw>();
OpDefs text_number_ops() {
  return {&TextFromNumber::def, &NumberFromText::def, &HashBucket::def, &DecodeRaw::def};
}

}  // namespace tenon
