// Attributes of custom ops as text: one string each, so that the file and the text form hold them
// like any other attribute.
#include <fmt/format.h>

#include <charconv>

#include "ops/custom.h"

namespace tenon {
namespace {

std::string hex(Bytes bytes) {
  std::string text;
  text.reserve(2 * bytes.size());
  for (const std::byte b : bytes) fmt::format_to(std::back_inserter(text), "{:02x}", b);
  return text;
}

template <typename T>
bool parse_number(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

template <typename T>
bool parse_numbers(std::string_view text, std::vector<T>& values) {
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    if (!parse_number(item, values.emplace_back())) return false;
    text.remove_prefix(std::min(item.size() + 1, text.size()));
  }
  return true;
}

// LENGTH:BYTES, one after the other.
bool parse_strings(std::string_view text, std::vector<std::string>& values) {
  while (!text.empty()) {
    const size_t colon = text.find(':');
    size_t length = 0;
    if (colon == std::string_view::npos || !parse_number(text.substr(0, colon), length))
      return false;
    text.remove_prefix(colon + 1);
    if (length > text.size()) return false;
    values.emplace_back(text.substr(0, length));
    text.remove_prefix(length);
  }
  return true;
}

// TYPE:HEX.
Result<Tensor> parse_tensor(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return invalid_model("a tensor without data");
  const TensorType type = TRY(parse_tensor_type(text.substr(0, colon)));
  text.remove_prefix(colon + 1);
  if (type.is_list || type.is_none() || type.dtype == DType::string || !type.shape.is_static())
    return invalid_model("a tensor of type " + type.to_string());
  const std::vector<int64_t> sizes = type.shape.sizes();
  const auto bytes = static_cast<size_t>(TRY(checked_elements(sizes, dtype_size(type.dtype)))) *
                     dtype_size(type.dtype);
  if (text.size() != 2 * bytes) return invalid_model("a tensor whose data does not fit its type");
  Tensor t = TRY(Tensor::allocate(type.dtype, sizes));
  auto* data = static_cast<uint8_t*>(t.mutable_raw());
  for (size_t i = 0; i < bytes; ++i) {
    const char* digits = text.data() + 2 * i;
    const auto [end, error] = std::from_chars(digits, digits + 2, data[i], 16);
    if (error != std::errc() || end != digits + 2) return invalid_model("a tensor without data");
  }
  return t;
}

}  // namespace

Result<std::string> encode_custom_attr(const CustomAttr& attr) {
  const AttrValue& v = attr.value;
  std::string text;
  if (const auto* i = std::get_if<int64_t>(&v)) {
    text = fmt::format("i:{}", *i);
  } else if (const auto* f = std::get_if<double>(&v)) {
    text = fmt::format("f:{}", *f);
  } else if (const auto* b = std::get_if<bool>(&v)) {
    text = *b ? "b:1" : "b:0";
  } else if (const auto* s = std::get_if<std::string>(&v)) {
    text = "s:" + *s;
  } else if (const auto* d = std::get_if<DType>(&v)) {
    text = fmt::format("d:{}", dtype_name(*d));
  } else if (const auto* ints = std::get_if<std::vector<int64_t>>(&v)) {
    text = fmt::format("I:{}", fmt::join(*ints, ","));
  } else if (const auto* floats = std::get_if<std::vector<double>>(&v)) {
    text = fmt::format("F:{}", fmt::join(*floats, ","));
  } else if (const auto* strings = std::get_if<std::vector<std::string>>(&v)) {
    text = "S:";
    for (const std::string& item : *strings) text += fmt::format("{}:", item.size()) + item;
  } else if (const auto* t = std::get_if<Tensor>(&v)) {
    if (!t->defined() || t->is_list() || t->dtype() == DType::string)
      return unsupported(fmt::format(
          "attribute '{}' of a custom op is no tensor of numbers, as custom ops take", attr.name));
    text = fmt::format("t:{}:", t->type().to_string()) + hex(t->bytes());
  } else {
    return unsupported(
        fmt::format("attribute '{}' is of a kind that custom ops do not take", attr.name));
  }
  return attr.name + "=" + text;
}

Result<CustomAttr> decode_custom_attr(std::string_view text) {
  const auto malformed = [&] {
    return invalid_model(fmt::format("'{}' is no attribute of a custom op", text.substr(0, 100)));
  };
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos || text.size() < equals + 3 || text[equals + 2] != ':')
    return malformed();
  CustomAttr attr{std::string(text.substr(0, equals)), {}};
  const std::string_view rest = text.substr(equals + 3);
  bool good = true;
  switch (text[equals + 1]) {
    case 'i':
      good = parse_number(rest, attr.value.emplace<int64_t>());
      break;
    case 'f':
      good = parse_number(rest, attr.value.emplace<double>());
      break;
    case 'b':
      attr.value = rest == "1";
      good = rest == "1" || rest == "0";
      break;
    case 's':
      attr.value = std::string(rest);
      break;
    case 'd': {
      const auto dtype = parse_dtype(rest);
      good = dtype.has_value();
      if (good) attr.value = *dtype;
      break;
    }
    case 'I':
      good = parse_numbers(rest, attr.value.emplace<std::vector<int64_t>>());
      break;
    case 'F':
      good = parse_numbers(rest, attr.value.emplace<std::vector<double>>());
      break;
    case 'S':
      good = parse_strings(rest, attr.value.emplace<std::vector<std::string>>());
      break;
    case 't':
      attr.value = TRY(parse_tensor(rest));
      break;
    default:
      good = false;
  }
  if (!good) return malformed();
  return attr;
}

}  // namespace tenon
