#include "ops/string_split.h"

#include <algorithm>

#include "ops/registry.h"

namespace tenon {
namespace {

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

std::vector<std::string> split_at(const std::string& text, const std::string& delimiter,
                                  int64_t max_splits) {
  std::vector<std::string> parts;
  size_t from = 0;
  while (max_splits < 0 || static_cast<int64_t>(parts.size()) < max_splits) {
    const size_t at = text.find(delimiter, from);
    if (at == std::string::npos) break;
    parts.push_back(text.substr(from, at - from));
    from = at + delimiter.size();
  }
  parts.push_back(text.substr(from));
  return parts;
}

std::vector<std::string> split_at_space(const std::string& text, int64_t max_splits) {
  std::vector<std::string> parts;
  for (size_t i = 0;;) {
    while (i < text.size() && is_space(text[i])) ++i;
    if (i == text.size()) return parts;
    size_t end = i;
    if (max_splits >= 0 && static_cast<int64_t>(parts.size()) == max_splits)
      end = text.size();
    else
      while (end < text.size() && !is_space(text[end])) ++end;
    parts.push_back(text.substr(i, end - i));
    i = end;
  }
}

}  // namespace

Result<TensorTypes> StringSplit::infer(const InferContext& context) const {
  if (context.type(0).is_list || context.dtype(0) != DType::string)
    return invalid_argument("string_split needs strings, not " + context.type(0).to_string());
  TensorType parts{DType::string, context.shape(0)};
  if (parts.shape.ranked()) parts.shape.dims().push_back(Dim::unknown());
  return TensorTypes{parts, {DType::i64, context.shape(0)}};
}

Status StringSplit::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  std::vector<std::vector<std::string>> rows;
  size_t widest = 0;
  for (const std::string& text : x.span<std::string>()) {
    rows.push_back(delimiter.empty() ? split_at_space(text, max_splits)
                                     : split_at(text, delimiter, max_splits));
    widest = std::max(widest, rows.back().size());
  }
  std::vector<int64_t> dims = x.dims();
  TRY(context.allocate(1, DType::i64, dims));
  dims.push_back(static_cast<int64_t>(widest));
  TRY(context.allocate(0, DType::string, dims));
  for (size_t i = 0; i < rows.size(); ++i) {
    context.out(1).mutable_data<int64_t>()[i] = static_cast<int64_t>(rows[i].size());
    std::ranges::move(rows[i], context.out(0).mutable_data<std::string>() + i * widest);
  }
  return {};
}

constinit const OpDef StringSplit::def = define<StringSplit>();
OpDefs string_split_ops() {
  return {&StringSplit::def};
}

}  // namespace tenon
