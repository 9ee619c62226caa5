#include "tensor/npy.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <vector>

#include "base/utf8.h"
#include "tensor/zip.h"

namespace tenon {
namespace {

struct NpyType {
  DType dtype;
  std::string_view descr;
};
constexpr NpyType kTypes[] = {
    {DType::f32, "<f4"}, {DType::f64, "<f8"},   {DType::f16, "<f2"}, {DType::i8, "|i1"},
    {DType::i16, "<i2"}, {DType::i32, "<i4"},   {DType::i64, "<i8"}, {DType::u8, "|u1"},
    {DType::u16, "<u2"}, {DType::u32, "<u4"},   {DType::u64, "<u8"}, {DType::boolean, "|b1"},
    {DType::c64, "<c8"}, {DType::c128, "<c16"}, {DType::bf16, "<V2"}};  // as ml_dtypes saves it

// The text after `'key': ` in the header's dictionary.
std::string_view header_value(std::string_view header, std::string_view key) {
  const size_t at = header.find(fmt::format("'{}'", key));
  if (at == std::string_view::npos) return {};
  std::string_view rest = header.substr(at + key.size() + 2);
  rest.remove_prefix(std::min(rest.find_first_not_of(": "), rest.size()));
  return rest;
}

Result<std::vector<int64_t>> parse_shape(std::string_view text) {
  std::vector<int64_t> dims;
  const size_t end = text.find(')');
  if (!text.starts_with("(") || end == std::string_view::npos)
    return invalid_argument("the header has no shape");
  text = text.substr(1, end - 1);
  while (!text.empty()) {
    text.remove_prefix(std::min(text.find_first_not_of(" ,"), text.size()));
    if (text.empty()) break;
    int64_t d = 0;
    const auto [p, error] = std::from_chars(text.data(), text.data() + text.size(), d);
    if (error != std::errc() || d < 0) return invalid_argument("the header's shape is malformed");
    dims.push_back(d);
    text.remove_prefix(static_cast<size_t>(p - text.data()));
  }
  return dims;
}

Result<Tensor> to_c_order(const Tensor& t) {
  Tensor out = TRY(Tensor::allocate(t.dtype(), t.dims()));
  const size_t size = dtype_size(t.dtype());
  const auto* src = static_cast<const char*>(t.raw());
  auto* dst = static_cast<char*>(out.mutable_raw());
  for (int64_t i = 0; i < t.elements(); ++i) {
    int64_t rest = i, offset = 0, stride = t.elements();
    for (int axis = t.rank() - 1; axis >= 0; --axis) {
      stride /= t.dim(axis);
      offset += rest % t.dim(axis) * stride;
      rest /= t.dim(axis);
    }
    std::memcpy(dst + static_cast<size_t>(i) * size, src + static_cast<size_t>(offset) * size,
                size);
  }
  return out;
}

// "S5": cells of so many bytes; "U5": of so many UTF-32 code points, which become UTF-8. Both are
// padded with zeros.
Result<Tensor> parse_strings(std::string_view descr, std::span<const int64_t> dims, Bytes data) {
  size_t width = 0;
  const bool wide = descr[0] == 'U';
  std::from_chars(descr.data() + 1, descr.data() + descr.size(), width);
  if (width == 0 || width > (size_t{1} << 32))
    return invalid_argument("the header's strings have no length");
  if (wide) width *= sizeof(uint32_t);
  const int64_t n = TRY(checked_elements(dims, std::max<size_t>(width, sizeof(std::string))));
  if (static_cast<size_t>(n) * width > data.size()) return invalid_argument("the data is cut off");
  Tensor t = TRY(Tensor::allocate(DType::string, dims));
  for (int64_t i = 0; i < n; ++i) {
    const Bytes cell = data.subspan(static_cast<size_t>(i) * width, width);
    std::string& text = t.mutable_data<std::string>()[i];
    if (!wide) {
      text = as_text(cell).substr(0, as_text(cell).find_last_not_of('\0') + 1);
      continue;
    }
    std::vector<uint32_t> points(width / sizeof(uint32_t));
    std::memcpy(points.data(), cell.data(), width);
    while (!points.empty() && points.back() == 0) points.pop_back();
    for (const uint32_t point : points) utf8::append(text, point < 0x110000 ? point : 0xFFFD);
  }
  return t;
}

Result<Tensor> parse(Bytes bytes, const std::shared_ptr<const void>& owner) {
  if (bytes.size() < 12 || as_text(bytes.first(6)) != "\x93NUMPY")
    return invalid_argument("this is not a .npy file; write one with numpy.save");
  const bool v1 = bytes[6] == std::byte{1};
  const size_t length = v1 ? load_le<uint16_t>(&bytes[8]) : load_le<uint32_t>(&bytes[8]);
  const size_t begin = v1 ? 10 : 12;
  if (length > bytes.size() - begin) return invalid_argument("the header is cut off");
  const std::string_view header = as_text(bytes.subspan(begin, length));
  const Bytes data = bytes.subspan(begin + length);
  const std::vector<int64_t> dims = TRY(parse_shape(header_value(header, "shape")));
  std::string_view descr = header_value(header, "descr");
  const size_t quote = descr.find('\'', 1);
  if (!descr.starts_with('\'') || quote == std::string_view::npos || quote < 3)
    return invalid_argument("the header names no type");
  descr = descr.substr(1, quote - 1);
  const size_t at = descr.find_first_not_of("<>|=");
  const char kind = at == std::string_view::npos ? ' ' : descr[at];
  if ((kind == 'S' || kind == 'U') && descr[0] != '>') {
    Tensor t = TRY(parse_strings(descr.substr(at), dims, data));
    if (header_value(header, "fortran_order").starts_with("True") && t.rank() > 1)
      return unsupported("strings in Fortran order; save numpy.ascontiguousarray of them");
    return t;
  }
  if (kind == 'O')
    return unsupported(
        "the file holds pickled Python objects; save text with array.astype('S') or numbers");
  for (const NpyType& type : kTypes) {
    if (type.descr.substr(1) != descr.substr(1) || descr[0] == '>') continue;
    const int64_t n = TRY(checked_elements(dims, dtype_size(type.dtype)));
    if (static_cast<size_t>(n) * dtype_size(type.dtype) > data.size())
      return invalid_argument("the data is cut off");
    Tensor t = Tensor::view(type.dtype, dims, data.data(), owner);
    if (header_value(header, "fortran_order").starts_with("True")) return to_c_order(t);
    if (reinterpret_cast<uintptr_t>(data.data()) % dtype_size(type.dtype) != 0) return t.clone();
    return t;
  }
  return unsupported(
      fmt::format("element type '{}' is not supported; save numbers in little-endian "
                  "order, or byte strings",
                  descr));
}

}  // namespace

Result<Tensor> read_npy(const std::string& path) {
  auto file = TRY(MappedFile::open(path));
  auto tensor = parse(file->bytes(), file);
  if (!tensor.ok()) return std::move(tensor).error().at(path);
  return tensor;
}

Result<std::map<std::string, Tensor>> read_npz(const std::string& path) {
  const auto file = TRY(MappedFile::open(path));
  auto members = zip_members(file->bytes());
  if (!members.ok()) return std::move(members).error().at(path);
  std::map<std::string, Tensor> tensors;
  for (const ZipMember& member : *members) {
    std::string name = member.name;
    if (name.ends_with(".npy")) name.resize(name.size() - 4);
    auto tensor =
        member.unpacked ? parse(member.content, member.unpacked) : parse(member.content, file);
    if (!tensor.ok())
      return std::move(tensor).error().at(fmt::format("{}, array '{}'", path, name));
    tensors[name] = std::move(*tensor);
  }
  return tensors;
}

Status write_npy(const std::string& path, const Tensor& tensor) {
  if (tensor.is_list() || !tensor.defined())
    return unsupported("a list cannot be written as one .npy file");
  if (tensor.dtype() == DType::bf16) {
    Tensor wide = TRY(Tensor::allocate(DType::f32, tensor.dims()));
    for (int64_t i = 0; i < tensor.elements(); ++i)
      wide.mutable_data<float>()[i] = static_cast<float>(tensor.data<BFloat16>()[i]);
    return write_npy(path, wide);
  }
  std::string descr, cells;
  Bytes data = tensor.bytes();
  if (tensor.dtype() == DType::string) {
    size_t width = 1;
    for (const std::string& s : tensor.span<std::string>()) width = std::max(width, s.size());
    descr = fmt::format("|S{}", width);
    for (const std::string& s : tensor.span<std::string>()) {
      cells += s;
      cells.append(width - s.size(), '\0');
    }
    data = as_bytes(cells);
  }
  for (const NpyType& type : kTypes)
    if (type.dtype == tensor.dtype()) descr = type.descr;
  if (descr.empty())
    return unsupported(fmt::format("{} has no .npy type", dtype_long_name(tensor.dtype())));
  std::string shape;
  for (const int64_t d : tensor.dims()) shape += fmt::format("{},", d);
  std::string header =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", descr, shape);
  constexpr size_t kPreamble = 10, kAlignment = 64;
  header.append(kAlignment - (kPreamble + header.size() + 1) % kAlignment, ' ');
  header += '\n';
  std::string head("\x93NUMPY\x01\x00", 8);
  head += static_cast<char>(header.size() & 0xff);
  head += static_cast<char>(header.size() >> 8);
  head += header;
  const Bytes parts[] = {as_bytes(head), data};
  return write_file_atomically(path, parts);
}

}  // namespace tenon
