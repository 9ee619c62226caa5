#include "ops/string_normalize.h"

#include <algorithm>
#include <unordered_set>

#include "ops/registry.h"

namespace tenon {
namespace {

// The other case of a letter; itself where it has none.
uint32_t lower(uint32_t c) {
  if ((c >= 'A' && c <= 'Z') || (c >= 0xC0 && c <= 0xDE && c != 0xD7)) return c + 32;
  if ((c >= 0x391 && c <= 0x3A9 && c != 0x3A2) || (c >= 0x410 && c <= 0x42F)) return c + 32;
  if (c >= 0x400 && c <= 0x40F) return c + 80;
  // Latin Extended-A: capital and small letters alternate, from 0x139 to 0x148 the other way.
  if (c >= 0x100 && c <= 0x137 && c != 0x130) return c % 2 == 0 ? c + 1 : c;
  if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E)) return c % 2 == 1 ? c + 1 : c;
  if (c >= 0x14A && c <= 0x177) return c % 2 == 0 ? c + 1 : c;
  return c;
}

uint32_t upper(uint32_t c) {
  if ((c >= 'a' && c <= 'z') || (c >= 0xE0 && c <= 0xFE && c != 0xF7)) return c - 32;
  if (c == 0x3C2) return 0x3A3;
  if ((c >= 0x3B1 && c <= 0x3C9) || (c >= 0x430 && c <= 0x44F)) return c - 32;
  if (c >= 0x450 && c <= 0x45F) return c - 80;
  return c > 0xFF && lower(c - 1) == c ? c - 1 : c;
}

// Letters of one and two bytes are changed, which have the same length in the other case.
std::string change_case(const std::string& text, CaseChange change) {
  if (change == CaseChange::none) return text;
  std::string result = text;
  const auto convert = change == CaseChange::lower ? lower : upper;
  for (size_t i = 0; i < result.size(); ++i) {
    const auto lead = static_cast<unsigned char>(result[i]);
    if (lead < 0x80) {
      result[i] = static_cast<char>(convert(lead));
    } else if (lead >= 0xC2 && lead < 0xE0 && i + 1 < result.size()) {
      const uint32_t c =
          convert((lead & 0x1Fu) << 6 | (static_cast<unsigned char>(result[i + 1]) & 0x3Fu));
      result[i] = static_cast<char>(0xC0 | c >> 6);
      result[++i] = static_cast<char>(0x80 | (c & 0x3F));
    }
  }
  return result;
}

}  // namespace

Result<TensorTypes> StringNormalize::infer(const InferContext& context) const {
  if (context.type(0).is_list || context.dtype(0) != DType::string)
    return invalid_argument("string_normalize needs strings, not " + context.type(0).to_string());
  const Shape& x = context.shape(0);
  TensorType y{DType::string, Shape::unranked()};
  if (!x.ranked()) return TensorTypes{y};
  if (x.rank() < 1 || x.rank() > 2 || (x.rank() == 2 && x[0].known() && x[0].size() != 1))
    return invalid_argument("string_normalize needs [n] or [1, n] strings, not " +
                            context.type(0).to_string());
  y.shape = Shape::unknown_dims(x.rank());
  if (x.rank() == 2) y.shape[0] = 1;
  return TensorTypes{y};
}

Status StringNormalize::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const auto key = [&](const std::string& text) {
    return case_sensitive ? text : change_case(text, CaseChange::lower);
  };
  std::unordered_set<std::string> stops;
  for (const std::string& word : stopwords) stops.insert(key(word));
  std::vector<std::string> kept;
  for (const std::string& text : x.span<std::string>())
    if (!stops.contains(key(text))) kept.push_back(change_case(text, case_change));
  if (kept.empty()) kept.emplace_back();
  const Tensor y = Tensor::vector(kept);
  context.out(0) = x.rank() == 2 ? y.reshaped({1, y.elements()}) : y;
  return {};
}

constinit const OpDef StringNormalize::def = define<StringNormalize>();
OpDefs string_normalize_ops() {
  return {&StringNormalize::def};
}

}  // namespace tenon
