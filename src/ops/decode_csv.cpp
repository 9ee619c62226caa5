#include "ops/decode_csv.h"

#include <fmt/format.h>

#include <charconv>

#include "ops/movement.h"
#include "ops/registry.h"

namespace tenon {
namespace {

// The fields of one record.
Result<std::vector<std::string>> split(std::string_view record, char delimiter, bool quotes) {
  std::vector<std::string> fields(1);
  size_t at = 0;
  const auto error = [&](const char* what) {
    return invalid_argument(fmt::format("decode_csv: {} in '{}'", what, record));
  };
  while (at < record.size()) {
    if (quotes && record[at] == '"') {
      for (++at;; ++at) {
        if (at >= record.size()) return error("a quoted field has no end");
        // Two quotes stand for one.
        if (record[at] == '"' && (at + 1 >= record.size() || record[at + 1] != '"')) break;
        if (record[at] == '"') ++at;
        fields.back() += record[at];
      }
      ++at;
      if (at < record.size() && record[at] == '\n') break;
      if (at < record.size() && record[at] != delimiter)
        return error("a quoted field is followed by other characters");
    } else {
      while (at < record.size() && record[at] != delimiter && record[at] != '\n') {
        if (quotes && record[at] == '"') return error("there is a quote inside a field without");
        fields.back() += record[at++];
      }
      if (at < record.size() && record[at] == '\n') break;
    }
    if (at < record.size()) {
      fields.emplace_back();
      ++at;
    }
  }
  return fields;
}

template <typename T>
bool parse(std::string_view text, T& value) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  return status == std::errc() && end == text.data() + text.size() && !text.empty();
}

template <typename T>
bool store(std::string_view text, Tensor& out, int64_t i) {
  return parse(text, out.mutable_data<T>()[i]);
}

bool store_field(std::string_view text, Tensor& out, int64_t i) {
  switch (out.dtype()) {
    case DType::f32:
      return store<float>(text, out, i);
    case DType::f64:
      return store<double>(text, out, i);
    case DType::i32:
      return store<int32_t>(text, out, i);
    case DType::i64:
      return store<int64_t>(text, out, i);
    default:
      out.mutable_data<std::string>()[i] = text;
      return true;
  }
}

void store_default(const Tensor& value, Tensor& out, int64_t i) {
  switch (out.dtype()) {
    case DType::f32:
      out.mutable_data<float>()[i] = value.data<float>()[0];
      return;
    case DType::f64:
      out.mutable_data<double>()[i] = value.data<double>()[0];
      return;
    case DType::i32:
      out.mutable_data<int32_t>()[i] = value.data<int32_t>()[0];
      return;
    case DType::i64:
      out.mutable_data<int64_t>()[i] = value.data<int64_t>()[0];
      return;
    default:
      out.mutable_data<std::string>()[i] = value.data<std::string>()[0];
  }
}

}  // namespace

Result<TensorTypes> DecodeCsv::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  if (context.dtype(0) != DType::string) return invalid_argument("decode_csv needs strings");
  const int fields = context.size() - 1;
  if (delimiter.size() != 1 || delimiter == "\"" || delimiter == "\n")
    return invalid_argument("decode_csv: the delimiter must be one character");
  if (!columns.empty() && static_cast<int>(columns.size()) != fields)
    return invalid_argument("decode_csv needs a default for each column");
  int64_t last = -1;
  for (const int64_t column : columns) {
    if (column <= last) return invalid_argument("decode_csv: the columns must ascend from 0 on");
    last = column;
  }
  TensorTypes types;
  for (int i = 1; i <= fields; ++i) {
    const DType t = context.dtype(i);
    if (t != DType::f32 && t != DType::f64 && t != DType::i32 && t != DType::i64 &&
        t != DType::string)
      return unsupported("decode_csv makes f32, f64, i32, i64 and strings");
    types.push_back({t, context.shape(0)});
  }
  return types;
}

Status DecodeCsv::eval(EvalContext& context) const {
  const auto records = context.in(0).span<std::string>();
  const auto count = static_cast<size_t>(context.size() - 1);
  for (size_t r = 0; r < records.size(); ++r) {
    const auto fields = TRY(split(records[r], delimiter[0], quotes));
    if (columns.empty() && fields.size() != count)
      return invalid_argument(
          fmt::format("decode_csv: record {} has {} fields, {} expected", r, fields.size(), count));
    for (size_t i = 0; i < count; ++i) {
      const size_t column = columns.empty() ? i : static_cast<size_t>(columns[i]);
      if (column >= fields.size())
        return invalid_argument(fmt::format("decode_csv: record {} has no field {}", r, column));
      const std::string& field = fields[column];
      const auto at = static_cast<int64_t>(r);
      const Tensor& value = context.in(static_cast<int>(i) + 1);
      Tensor& out = context.out(static_cast<int>(i));
      if (field.empty() || field == missing) {
        if (value.elements() != 1)
          return invalid_argument(
              fmt::format("decode_csv: field {} is required but missing in record {}", column, r));
        store_default(value, out, at);
      } else if (!store_field(field, out, at)) {
        return invalid_argument(fmt::format("decode_csv: field {} in record {} is no {}: '{}'",
                                            column, r, dtype_name(out.dtype()), field));
      }
    }
  }
  return {};
}

constinit const OpDef DecodeCsv::def = define<DecodeCsv>();
OpDefs decode_csv_ops() {
  return {&DecodeCsv::def};
}

}  // namespace tenon
