// TensorProto {1: DataType, 2: shape {2: dimension {1: size}}, 4: content, else a field of values
// for each kind of type, of which the last stands for all that are missing}.
#include "ops/serialize_tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "ops/movement.h"
#include "ops/nn_util.h"
#include "ops/proto_fields.h"
#include "ops/registry.h"

namespace tenon {
namespace {

struct TypeRow {
  DType dtype;
  uint32_t number;  // in TensorFlow's enumeration of types
  uint32_t field;   // that holds values
  bool is_varint;   // else the bytes of the elements
};
constexpr TypeRow kTypes[] = {
    {DType::f32, 1, 5, false},      {DType::f64, 2, 6, false},   {DType::i32, 3, 7, true},
    {DType::u8, 4, 7, true},        {DType::i16, 5, 7, true},    {DType::i8, 6, 7, true},
    {DType::string, 7, 8, false},   {DType::c64, 8, 9, false},   {DType::i64, 9, 10, true},
    {DType::boolean, 10, 11, true}, {DType::bf16, 14, 13, true}, {DType::u16, 17, 7, true},
    {DType::c128, 18, 12, false},   {DType::f16, 19, 13, true},  {DType::u32, 22, 16, true},
    {DType::u64, 23, 17, true}};

const TypeRow* row_of(DType dtype) {
  const auto* row = std::ranges::find(kTypes, dtype, &TypeRow::dtype);
  return row == std::end(kTypes) ? nullptr : row;
}

void put_varint(std::string& out, uint64_t v) {
  for (; v >= 0x80; v >>= 7) out += static_cast<char>(v | 0x80);
  out += static_cast<char>(v);
}

void put_bytes(std::string& out, uint32_t field, std::string_view bytes) {
  put_varint(out, field << 3 | 2);
  put_varint(out, bytes.size());
  out += bytes;
}

void put_number(std::string& out, uint32_t field, uint64_t v) {
  put_varint(out, field << 3);
  put_varint(out, v);
}

struct Message {
  std::vector<int64_t> dims;
  uint64_t type = 0;
  bool has_content = false;
  std::string_view content;
  std::vector<std::string_view> strings;
  std::vector<uint64_t> numbers;
  std::string bytes;  // of elements
};

bool read_shape(std::string_view text, std::vector<int64_t>& dims) {
  ProtoFields shape{text};
  while (shape.next()) {
    if (shape.field != 2 || shape.kind != 2) continue;
    int64_t size = 0;
    ProtoFields dim{shape.bytes};
    while (dim.next())
      if (dim.field == 1 && dim.kind == 0) size = static_cast<int64_t>(dim.number);
    if (!dim.fine || size < 0 || dims.size() >= 64) return false;
    dims.push_back(size);
  }
  return shape.fine;
}

bool read_message(std::string_view text, const TypeRow& row, Message& m) {
  ProtoFields in{text};
  while (in.next()) {
    if (in.field == 1 && in.kind == 0) m.type = in.number;
    if (in.field == 2 && in.kind == 2 && !read_shape(in.bytes, m.dims)) return false;
    if (in.field == 4 && in.kind == 2) {
      m.has_content = true;
      m.content = in.bytes;
    }
    if (in.field != row.field) continue;
    if (in.kind == 0) {
      m.numbers.push_back(in.number);
    } else if (row.dtype == DType::string) {
      m.strings.push_back(in.bytes);
    } else if (!row.is_varint) {
      m.bytes += in.bytes;
    } else {
      ProtoFields packed{in.bytes};
      uint64_t value = 0;
      while (!packed.data.empty() && packed.varint(value)) m.numbers.push_back(value);
      if (!packed.fine) return false;
    }
  }
  return in.fine;
}

// The content of strings: their lengths, then their bytes.
bool split_content(std::string_view content, int64_t count, std::vector<std::string_view>& out) {
  ProtoFields in{content};
  std::vector<uint64_t> lengths;
  uint64_t length = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (!in.varint(length)) return false;
    lengths.push_back(length);
  }
  for (const uint64_t n : lengths) {
    if (n > in.data.size()) return false;
    out.push_back(in.data.substr(0, n));
    in.data.remove_prefix(n);
  }
  return in.data.empty();
}

}  // namespace

Result<TensorTypes> ParseTensor::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  TRY(nn::expect_scalar(context, name, 0));
  if (context.dtype(0) != DType::string) return invalid_argument("parse_tensor needs a string");
  if (row_of(dtype) == nullptr)
    return unsupported(fmt::format("parse_tensor does not make {}", dtype_name(dtype)));
  return TensorTypes{{dtype, Shape::unranked()}};
}

Status ParseTensor::eval(EvalContext& context) const {
  if (context.in(0).elements() != 1) return invalid_argument("parse_tensor needs one string");
  const TypeRow& row = *row_of(dtype);
  Message m;
  if (!read_message(context.in(0).data<std::string>()[0], row, m))
    return invalid_argument("parse_tensor: the string is no serialized tensor");
  if (m.type != row.number)
    return invalid_argument(fmt::format("parse_tensor: the tensor's type ({}) is not {}", m.type,
                                        dtype_long_name(dtype)));
  const int64_t n = TRY(checked_elements(m.dims, dtype_size(dtype)));
  const auto wrong = [&] {
    return invalid_argument("parse_tensor: the data does not match the tensor's shape");
  };
  if (dtype == DType::string) {
    if (m.has_content && n > static_cast<int64_t>(m.content.size())) return wrong();
    if (m.has_content && !split_content(m.content, n, m.strings)) return wrong();
    TRY(context.allocate(0, dtype, m.dims));
    auto* out = context.out(0).mutable_data<std::string>();
    for (int64_t i = 0; i < n && !m.strings.empty(); ++i)
      out[i] = m.strings[std::min(static_cast<size_t>(i), m.strings.size() - 1)];
    return {};
  }
  const size_t size = dtype_size(dtype);
  std::string_view bytes = m.has_content ? m.content : std::string_view(m.bytes);
  if (m.has_content ? bytes.size() != static_cast<size_t>(n) * size : bytes.size() % size != 0)
    return wrong();
  std::string narrowed;  // numbers, little-endian as they are in memory
  if (!m.has_content && row.is_varint) {
    for (const uint64_t v : m.numbers) narrowed.append(reinterpret_cast<const char*>(&v), size);
    bytes = narrowed;
  }
  const size_t given = bytes.size() / size;
  if (given > static_cast<size_t>(n)) return wrong();
  context.out(0) = TRY(Tensor::zeros(dtype, m.dims));
  auto* out = static_cast<char*>(context.out(0).mutable_raw());
  for (size_t i = 0; i < static_cast<size_t>(n) && given > 0; ++i)
    std::memcpy(out + i * size, bytes.data() + std::min(i, given - 1) * size, size);
  if (dtype == DType::boolean)
    for (int64_t i = 0; i < n; ++i) out[i] = out[i] != 0 ? 1 : 0;
  return {};
}

Result<TensorTypes> SerializeTensor::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  if (row_of(context.dtype(0)) == nullptr)
    return unsupported(
        fmt::format("serialize_tensor does not take {}", context.type(0).to_string()));
  return TensorTypes{{DType::string, Shape{}}};
}

Status SerializeTensor::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const TypeRow& row = *row_of(x.dtype());
  std::string shape, out;
  for (const int64_t d : x.dims()) {
    std::string dim;
    if (d != 0) put_number(dim, 1, static_cast<uint64_t>(d));
    put_bytes(shape, 2, dim);
  }
  put_number(out, 1, row.number);
  put_bytes(out, 2, shape);
  if (x.dtype() == DType::string && strings_as_content) {
    std::string content;
    for (const std::string& s : x.span<std::string>()) put_varint(content, s.size());
    for (const std::string& s : x.span<std::string>()) content += s;
    if (!content.empty()) put_bytes(out, 4, content);
  } else if (x.dtype() == DType::string) {
    for (const std::string& s : x.span<std::string>()) put_bytes(out, row.field, s);
  } else if (x.elements() > 0) {
    put_bytes(out, 4, as_text(x.bytes()));
  }
  context.out(0).mutable_data<std::string>()[0] = std::move(out);
  return {};
}

constinit const OpDef ParseTensor::def = define<ParseTensor>();
constinit const OpDef SerializeTensor::def = define<SerializeTensor>();
OpDefs serialize_tensor_ops() {
  return {&ParseTensor::def, &SerializeTensor::def};
}

}  // namespace tenon
