#include "ir/text_tensor.h"

#include <fmt/format.h>

#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>

#include "ir/text_base64.h"
#include "tensor/narrow.h"
#include "tensor/visit.h"

namespace tenon::text {
namespace {

constexpr int64_t kMaxLiteralElements = 32;
constexpr int64_t kMaxSplatBytes = 1 << 20;
constexpr int64_t kMaxGeneratedBytes = int64_t{512} << 20;
constexpr int kMaxListDepth = 8;

template <typename T>
std::string float_text(T value) {
  if (std::isnan(value)) {
    const auto bits = std::bit_cast<std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>>(value);
    const auto canonical = std::bit_cast<decltype(bits)>(std::numeric_limits<T>::quiet_NaN());
    return bits == canonical ? "nan" : fmt::format("0x{:x}", bits);
  }
  return fmt::format("{}", value);
}

std::string element_text(const Tensor& t, int64_t i) {
  switch (t.dtype()) {
    case DType::string:
      return quoted(t.data<std::string>()[i]);
    case DType::boolean:
      return t.data<bool>()[i] ? "true" : "false";
    case DType::c64: {
      const auto z = t.data<std::complex<float>>()[i];
      return fmt::format("({}, {})", float_text(z.real()), float_text(z.imag()));
    }
    case DType::c128: {
      const auto z = t.data<std::complex<double>>()[i];
      return fmt::format("({}, {})", float_text(z.real()), float_text(z.imag()));
    }
    case DType::u64:
      return fmt::format("{}", t.data<uint64_t>()[i]);
    case DType::f64:
      return float_text(t.data<double>()[i]);
    case DType::f32:
      return float_text(t.data<float>()[i]);
    case DType::f16:
    case DType::bf16: {
      const auto value = static_cast<float>(t.real_at(i));
      // The payload of a NaN is kept in the 16 bits it has.
      if (!std::isnan(value)) return fmt::format("{}", value);
      uint16_t bits = 0;
      std::memcpy(&bits, static_cast<const std::byte*>(t.raw()) + 2 * i, 2);
      return fmt::format("0x{:x}", bits);
    }
    default:
      if (is_narrow_float(t.dtype())) {
        const double value = t.real_at(i);
        if (!std::isnan(value)) return fmt::format("{}", value);
        return fmt::format("0x{:x}", static_cast<const uint8_t*>(t.raw())[i]);
      }
      return fmt::format("{}", t.int_at(i));
  }
}

void dense_text(const Tensor& t, int axis, int64_t& next, std::string& out) {
  if (axis == t.rank()) {
    out += element_text(t, next++);
    return;
  }
  out += '[';
  for (int64_t i = 0; i < t.dim(axis); ++i) {
    if (i > 0) out += ", ";
    dense_text(t, axis + 1, next, out);
  }
  out += ']';
}

bool is_splat(const Tensor& t) {
  if (t.elements() < 2 || t.dtype() == DType::string) return false;
  const size_t size = dtype_size(t.dtype());
  const auto* p = static_cast<const std::byte*>(t.raw());
  return std::memcmp(p, p + size, t.byte_size() - size) == 0;
}

template <typename T>
bool read_number(std::string_view token, T& value) {
  if constexpr (std::is_floating_point_v<T>) {
    if (token.starts_with("0x")) {
      std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t> bits = 0;
      const auto [end, error] =
          std::from_chars(token.data() + 2, token.data() + token.size(), bits, 16);
      value = std::bit_cast<T>(bits);
      return error == std::errc() && end == token.data() + token.size();
    }
    if (token == "nan") {
      value = std::numeric_limits<T>::quiet_NaN();
      return true;
    }
  }
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), value);
  return error == std::errc() && end == token.data() + token.size() && !token.empty();
}

template <typename T>
void append(const T& value, std::string& bytes) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <typename T>
Status read_real(Lexer& lexer, std::string& bytes) {
  lexer.skip();
  const size_t begin = lexer.position();
  const std::string_view token = lexer.number();
  bool good = false;
  if constexpr (std::is_same_v<T, Half> || std::is_same_v<T, BFloat16>) {
    float value = 0;
    T narrow;
    if (token.starts_with("0x")) {
      const auto [end, error] =
          std::from_chars(token.data() + 2, token.data() + token.size(), narrow.bits, 16);
      good = error == std::errc() && end == token.data() + token.size();
    } else {
      good = read_number(token, value);
      narrow = T(value);
    }
    append(narrow, bytes);
  } else {
    T value{};
    good = read_number(token, value);
    append(value, bytes);
  }
  if (good) return {};
  lexer.seek(begin);
  return lexer.expected(fmt::format("a value of type {}", dtype_name(dtype_of<T>)));
}

Status read_narrow(Lexer& lexer, DType dtype, std::string& bytes) {
  lexer.skip();
  const size_t begin = lexer.position();
  const std::string_view token = lexer.number();
  double value = 0;
  uint8_t bits = 0;
  bool good = false;
  if (token.starts_with("0x")) {
    const auto [end, error] =
        std::from_chars(token.data() + 2, token.data() + token.size(), bits, 16);
    good = error == std::errc() && end == token.data() + token.size();
  } else {
    good = read_number(token, value);
    bits = to_narrow(dtype, value, false);
  }
  append(bits, bytes);
  if (good) return {};
  lexer.seek(begin);
  return lexer.expected(fmt::format("a value of type {}", dtype_name(dtype)));
}

template <typename T>
Status read_complex(Lexer& lexer, std::string& bytes) {
  TRY(lexer.expect('('));
  TRY(read_real<T>(lexer, bytes));
  TRY(lexer.expect(','));
  TRY(read_real<T>(lexer, bytes));
  return lexer.expect(')');
}

// Appends the bytes of one element; strings go to `strings`.
Status read_element(Lexer& lexer, DType dtype, std::string& bytes,
                    std::vector<std::string>& strings) {
  if (dtype == DType::string) {
    strings.push_back(TRY(lexer.string()));
    return {};
  }
  if (dtype == DType::boolean) {
    const bool yes = lexer.take_word("true");
    if (!yes && !lexer.take_word("false")) return lexer.expected("true or false");
    bytes += static_cast<char>(yes ? 1 : 0);
    return {};
  }
  if (dtype == DType::c64) return read_complex<float>(lexer, bytes);
  if (dtype == DType::c128) return read_complex<double>(lexer, bytes);
  if (is_narrow(dtype)) return read_narrow(lexer, dtype, bytes);
  return visit_real(dtype, [&](auto tag) -> Status {
    return read_real<typename decltype(tag)::type>(lexer, bytes);
  });
}

Status read_nested(Lexer& lexer, DType dtype, std::span<const int64_t> dims, std::string& bytes,
                   std::vector<std::string>& strings) {
  if (dims.empty()) return read_element(lexer, dtype, bytes, strings);
  TRY(lexer.expect('['));
  for (int64_t i = 0; i < dims[0]; ++i) {
    if (i > 0) TRY(lexer.expect(','));
    TRY(read_nested(lexer, dtype, dims.subspan(1), bytes, strings));
  }
  return lexer.expect(']');
}

// SplitMix64: the values of random(seed=…) are part of the text form and never change.
uint64_t next_random(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

void fill_random(Tensor& t, uint64_t seed, double min, double max) {
  const auto unit = [&] { return static_cast<double>(next_random(seed) >> 11) * 0x1p-53; };
  const auto real = [&] { return min + (max - min) * unit(); };
  if (t.dtype() == DType::boolean) {
    for (int64_t i = 0; i < t.elements(); ++i)
      t.mutable_data<bool>()[i] = (next_random(seed) >> 63) != 0;
  } else if (t.dtype() == DType::c64) {
    for (int64_t i = 0; i < t.elements(); ++i)
      t.mutable_data<std::complex<float>>()[i] = {static_cast<float>(real()),
                                                  static_cast<float>(real())};
  } else if (t.dtype() == DType::c128) {
    for (int64_t i = 0; i < t.elements(); ++i)
      t.mutable_data<std::complex<double>>()[i] = {real(), real()};
  } else if (is_narrow(t.dtype())) {
    for (int64_t i = 0; i < t.elements(); ++i)
      static_cast<uint8_t*>(t.mutable_raw())[i] = to_narrow(t.dtype(), real());
  } else if (is_int(t.dtype())) {
    visit_int(t.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      const double range = std::floor(max) - std::ceil(min) + 1;
      for (int64_t i = 0; i < t.elements(); ++i)
        t.mutable_data<T>()[i] =
            static_cast<T>(static_cast<int64_t>(std::ceil(min) + std::floor(range * unit())));
    });
  } else {
    visit_float(t.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      for (int64_t i = 0; i < t.elements(); ++i) {
        if constexpr (std::is_same_v<T, double>)
          t.mutable_data<T>()[i] = real();
        else
          t.mutable_data<T>()[i] = T(static_cast<float>(real()));
      }
    });
  }
}

// What the type of a literal must be for any but a list.
Status check_static(const Lexer& lexer, const TensorType& type) {
  if (type.is_none() || type.is_list || !type.shape.is_static())
    return lexer.fail(fmt::format("a constant needs a static type, not {}", type_text(type)));
  if (auto n = checked_elements(type.shape.sizes(), dtype_size(type.dtype)); !n.ok())
    return lexer.fail(n.error().message);
  return {};
}

}  // namespace

std::string literal_text(const Tensor& tensor, TensorData& large) {
  if (!tensor.defined()) return "none";
  if (tensor.is_list()) {
    std::string out = "list<";
    for (const Tensor& item : tensor.items()) {
      if (&item != tensor.items().data()) out += ", ";
      if (item.defined()) out += type_text(item.type()) + " ";
      out += literal_text(item, large);
    }
    return out + ">";
  }
  const auto bytes = static_cast<int64_t>(tensor.byte_size());
  if (bytes <= kMaxSplatBytes && is_splat(tensor))
    return fmt::format("splat({})", element_text(tensor, 0));
  if (tensor.elements() <= kMaxLiteralElements || tensor.dtype() == DType::string) {
    std::string out = "dense<";
    int64_t next = 0;
    dense_text(tensor, 0, next, out);
    return out + ">";
  }
  const uint64_t hash = tensor_hash(tensor);
  large.emplace(hash, tensor);
  return fmt::format("#{:016x}", hash);
}

std::string data_text(const TensorData& data) {
  std::string out;
  for (const auto& [hash, tensor] : data)
    out += fmt::format("data #{:016x} \"{}\"\n", hash, base64(tensor.bytes()));
  return out;
}

LiteralParser::LiteralParser(std::string_view text) {
  constexpr std::string_view kHead = "data #";
  for (size_t at = 0; at < text.size();) {
    size_t end = text.find('\n', at);
    if (end == std::string_view::npos) end = text.size();
    std::string_view line = text.substr(at, end - at);
    at = end + 1;
    if (!line.starts_with(kHead)) continue;
    line.remove_prefix(kHead.size());
    const size_t open = line.find('"'), close = line.rfind('"');
    if (open == std::string_view::npos || close <= open + 1) continue;
    std::string_view hash = line.substr(0, open);
    while (hash.ends_with(' ')) hash.remove_suffix(1);
    data_[hash] = line.substr(open + 1, close - open - 1);
  }
}

Status LiteralParser::skip_data(Lexer& lexer) {
  TRY(lexer.expect('#'));
  if (lexer.word().empty()) return lexer.expected("a content hash");
  TRY(lexer.string());
  return {};
}

Status LiteralParser::skip(Lexer& lexer) {
  if (lexer.take('#')) {
    if (lexer.word().empty()) return lexer.expected("a content hash");
    return {};
  }
  const std::string_view kind = lexer.word();
  if (kind == "none") return {};
  if (kind != "dense" && kind != "splat" && kind != "random" && kind != "list")
    return lexer.expected("dense<…>, splat(…), random(seed=…), list<…> or #hash");
  return lexer.skip_brackets();
}

Result<Tensor> LiteralParser::parse(Lexer& lexer, const TensorType& type) {
  return parse_at(lexer, type, 0);
}

Result<Tensor> LiteralParser::parse_at(Lexer& lexer, const TensorType& type, int depth) {
  if (depth > kMaxListDepth) return lexer.fail("lists are nested too deeply");
  if (lexer.take('#')) return stored(lexer, type);
  if (lexer.take_word("none")) return Tensor();
  if (lexer.take_word("dense")) return dense(lexer, type);
  if (lexer.take_word("splat")) return generated(lexer, type, false);
  if (lexer.take_word("random")) return generated(lexer, type, true);
  if (!lexer.take_word("list")) return lexer.expected("a constant");
  TRY(lexer.expect('<'));
  std::vector<Tensor> items;
  while (!lexer.take('>')) {
    if (!items.empty()) TRY(lexer.expect(','));
    if (lexer.take_word("none")) {
      items.emplace_back();
      continue;
    }
    const TensorType item = TRY(lexer.type());
    items.push_back(TRY(parse_at(lexer, item, depth + 1)));
  }
  return Tensor::list(type.dtype, std::move(items));
}

Result<Tensor> LiteralParser::dense(Lexer& lexer, const TensorType& type) {
  TRY(check_static(lexer, type));
  TRY(lexer.expect('<'));
  const auto dims = type.shape.sizes();
  std::string bytes;
  std::vector<std::string> strings;
  TRY(read_nested(lexer, type.dtype, dims, bytes, strings));
  TRY(lexer.expect('>'));
  Tensor t = TRY(Tensor::allocate(type.dtype, dims));
  if (type.dtype == DType::string)
    std::move(strings.begin(), strings.end(), t.mutable_data<std::string>());
  else if (!bytes.empty())
    std::memcpy(t.mutable_raw(), bytes.data(), bytes.size());
  return t;
}

Result<Tensor> LiteralParser::generated(Lexer& lexer, const TensorType& type, bool random) {
  TRY(check_static(lexer, type));
  if (type.dtype == DType::string) return lexer.fail("strings are written as dense<…>");
  const auto dims = type.shape.sizes();
  generated_bytes_ += *type.byte_size();
  if (generated_bytes_ > kMaxGeneratedBytes)
    return lexer.fail("the splat and random constants of a text are limited to 512 MiB in all");
  TRY(lexer.expect('('));
  if (!random) {
    std::string bytes;
    std::vector<std::string> strings;
    TRY(read_element(lexer, type.dtype, bytes, strings));
    TRY(lexer.expect(')'));
    Tensor t = TRY(Tensor::allocate(type.dtype, dims));
    auto* out = static_cast<char*>(t.mutable_raw());
    for (int64_t i = 0; i < t.elements(); ++i)
      std::memcpy(out + static_cast<size_t>(i) * bytes.size(), bytes.data(), bytes.size());
    return t;
  }
  int64_t seed = 0;
  double min = is_int(type.dtype) ? 0 : -1, max = is_int(type.dtype) ? 9 : 1;
  while (!lexer.take(')')) {
    lexer.take(',');
    const bool is_seed = lexer.take_word("seed"), is_min = !is_seed && lexer.take_word("min");
    if (!is_seed && !is_min && !lexer.take_word("max")) return lexer.expected("seed, min or max");
    TRY(lexer.expect('='));
    if (is_seed)
      seed = TRY(lexer.integer());
    else
      (is_min ? min : max) = TRY(lexer.real());
  }
  constexpr double kLimit = 1e18;
  if (!(std::abs(min) < kLimit && std::abs(max) < kLimit && min <= max))
    return lexer.fail("random needs min <= max, both of moderate size");
  Tensor t = TRY(Tensor::allocate(type.dtype, dims));
  fill_random(t, static_cast<uint64_t>(seed), min, max);
  return t;
}

Result<Tensor> LiteralParser::stored(Lexer& lexer, const TensorType& type) {
  const size_t begin = lexer.position();
  const std::string_view hash = lexer.word();
  TRY(check_static(lexer, type));
  const auto found = data_.find(hash);
  if (found == data_.end())
    return lexer.fail_at(begin, fmt::format("the data of constant #{} is not in this text; "
                                            "print the graph in full form (--full) to keep it",
                                            hash));
  if (type.dtype == DType::string) return lexer.fail("strings are written as dense<…>");
  Tensor& known = stored_[hash];
  if (known.defined() && known.type() == type) return known;
  const auto size = static_cast<size_t>(*type.byte_size());
  if (found->second.size() != (size + 2) / 3 * 4)
    return lexer.fail_at(
        begin, fmt::format("the data of constant #{} is not that of a {}", hash, type_text(type)));
  Tensor t = TRY(Tensor::allocate(type.dtype, type.shape.sizes()));
  if (!decode_base64(found->second, static_cast<std::byte*>(t.mutable_raw()), size))
    return lexer.fail_at(begin, fmt::format("the data of constant #{} is not base64", hash));
  if (fmt::format("{:016x}", tensor_hash(t)) != hash)
    return lexer.fail_at(begin, fmt::format("the data of constant #{} is damaged", hash));
  if (type.dtype == DType::boolean)
    for (const std::byte b : t.bytes())
      if (b > std::byte{1}) return lexer.fail_at(begin, "a boolean is neither 0 nor 1");
  known = t;
  return t;
}

}  // namespace tenon::text
