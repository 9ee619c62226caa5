#include "ops/text.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/regex.h"
#include "base/utf8.h"
#include "ops/broadcast.h"
#include "ops/movement.h"
#include "ops/nn_util.h"
#include "ops/registry.h"

namespace tenon {
namespace {

// Operand 0 holds strings; the result is of its shape.
Result<TensorTypes> same_shape(const InferContext& context, std::string_view op, DType out) {
  TRY(require_tensors(context, op));
  if (context.dtype(0) != DType::string)
    return invalid_argument(
        fmt::format("{} needs strings, not {}", op, context.type(0).to_string()));
  return TensorTypes{{out, context.shape(0)}};
}

// Sets each string of the result to f of the string of operand 0.
template <typename F>
void each_string(EvalContext& context, F&& f) {
  const auto in = context.in(0).span<std::string>();
  auto* out = context.out(0).mutable_data<std::string>();
  for (size_t i = 0; i < in.size(); ++i) out[i] = f(in[i]);
}

Result<std::string> single_string(const EvalContext& context, int i, std::string_view op) {
  const Tensor& t = context.in(i);
  if (t.dtype() == DType::string && t.elements() == 1) return t.data<std::string>()[0];
  return invalid_argument(fmt::format("{}: operand {} must be a single string", op, i));
}

// The simple case mappings of Latin, Greek and Cyrillic letters.
uint32_t change_case(uint32_t c, bool upper) {
  const auto in = [&](uint32_t low, uint32_t high) { return c >= low && c <= high; };
  if (c < 0x80) return upper ? (in('a', 'z') ? c - 32 : c) : (in('A', 'Z') ? c + 32 : c);
  if (upper) {
    if (c == 0xB5) return 0x39C;
    if (c == 0xFF) return 0x178;
    if ((in(0xE0, 0xFE) && c != 0xF7) || (in(0x3B1, 0x3CB) && c != 0x3C2) || in(0x430, 0x44F))
      return c - 32;
    if (c == 0x3C2) return 0x3A3;
    if (in(0x450, 0x45F)) return c - 80;
    if (in(0x100, 0x137) && c != 0x131) return c & ~1u;
    if (in(0x139, 0x148) || in(0x179, 0x17E)) return c % 2 == 0 ? c - 1 : c;
    if (in(0x14A, 0x177) || in(0x460, 0x481) || in(0x1E00, 0x1E95) || in(0x1EA0, 0x1EFF))
      return c & ~1u;
  } else {
    if (c == 0x178) return 0xFF;
    if ((in(0xC0, 0xDE) && c != 0xD7) || in(0x391, 0x3AB) || in(0x410, 0x42F)) return c + 32;
    if (in(0x400, 0x40F)) return c + 80;
    if (in(0x100, 0x137) && c != 0x130) return c | 1u;
    if (in(0x139, 0x148) || in(0x179, 0x17E)) return c % 2 == 1 ? c + 1 : c;
    if (in(0x14A, 0x177) || in(0x460, 0x481) || in(0x1E00, 0x1E95) || in(0x1EA0, 0x1EFF))
      return c | 1u;
  }
  return c;
}

// Where each character begins, and the end.
std::vector<size_t> character_places(const std::string& text, bool utf8) {
  std::vector<size_t> places;
  for (size_t at = 0; at < text.size(); at += utf8 ? tenon::utf8::decode(text, at).second : 1)
    places.push_back(at);
  places.push_back(text.size());
  return places;
}

}  // namespace

Result<TensorTypes> TextCase::infer(const InferContext& context) const {
  return same_shape(context, name, DType::string);
}

Status TextCase::eval(EvalContext& context) const {
  each_string(context, [&](const std::string& text) {
    std::string result;
    result.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
      const auto [point, length] =
          utf8 ? tenon::utf8::decode(text, at) : std::pair<uint32_t, size_t>{0xFFFD, 1};
      if (static_cast<uint8_t>(text[at]) < 0x80)
        result += static_cast<char>(change_case(static_cast<uint8_t>(text[at]), upper));
      else if (!utf8)
        result += text[at];
      else if (upper && point == 0xDF)
        result += "SS";
      else
        tenon::utf8::append(result, change_case(point, upper));
      at += length;
    }
    return result;
  });
  return {};
}

Result<TensorTypes> TextStrip::infer(const InferContext& context) const {
  return same_shape(context, name, DType::string);
}

Status TextStrip::eval(EvalContext& context) const {
  each_string(context, [](const std::string& text) {
    constexpr std::string_view kSpace = " \t\n\v\f\r";
    const size_t first = text.find_first_not_of(kSpace);
    if (first == std::string::npos) return std::string();
    return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
  });
  return {};
}

Result<TensorTypes> TextLength::infer(const InferContext& context) const {
  return same_shape(context, name, DType::i32);
}

Status TextLength::eval(EvalContext& context) const {
  const auto in = context.in(0).span<std::string>();
  for (size_t i = 0; i < in.size(); ++i)
    context.out(0).mutable_data<int32_t>()[i] =
        static_cast<int32_t>(character_places(in[i], utf8).size() - 1);
  return {};
}

Result<TensorTypes> TextSlice::infer(const InferContext& context) const {
  TensorType out = TRY(same_shape(context, name, DType::string))[0];
  for (const int i : {1, 2}) {
    if (!is_int(context.dtype(i)))
      return invalid_argument("text_slice needs integer places and lengths");
    out.shape = TRY(broadcast_shapes(out.shape, context.shape(i)));
  }
  return TensorTypes{out};
}

Status TextSlice::eval(EvalContext& context) const {
  Tensor& y = context.out(0);
  const auto* in = context.in(0).data<std::string>();
  Status status;
  broadcast_each<3>(
      y.dims(), {context.in(0).dims(), context.in(1).dims(), context.in(2).dims()},
      [&](int64_t i, const auto& at) {
        const std::string& text = in[at[0]];
        const auto places = character_places(text, utf8);
        const auto n = static_cast<int64_t>(places.size()) - 1;
        int64_t from = context.in(1).int_at(at[1]);
        const int64_t length = std::max<int64_t>(context.in(2).int_at(at[2]), 0);
        if (from < -n || from > n) {
          status =
              invalid_argument(fmt::format("text_slice: place {} is outside of '{}'", from, text));
          return;
        }
        if (from < 0) from += n;
        const size_t begin = places[static_cast<size_t>(from)];
        const size_t end = places[static_cast<size_t>(from + std::min(length, n - from))];
        y.mutable_data<std::string>()[i] = text.substr(begin, end - begin);
      });
  return status;
}

Result<TensorTypes> TextReduce::infer(const InferContext& context) const {
  TensorType out = TRY(same_shape(context, name, DType::string))[0];
  if (!out.shape.ranked()) return TensorTypes{out};
  const auto wanted = TRY(normalize_axes(axes, out.shape.rank(), name));
  Shape left;
  for (int i = 0; i < out.shape.rank(); ++i) {
    const bool gone = std::ranges::find(wanted, i) != wanted.end();
    if (!gone || keep_dims) left.dims().push_back(gone ? Dim(1) : out.shape[i]);
  }
  out.shape = left;
  return TensorTypes{out};
}

Status TextReduce::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const auto order = TRY(normalize_axes(axes, x.rank(), name));
  std::vector<int64_t> left, joined;
  const auto strides = row_major_strides(x.dims());
  std::vector<int64_t> left_strides, joined_strides;
  for (int i = 0; i < x.rank(); ++i)
    if (std::ranges::find(order, i) == order.end()) {
      left.push_back(x.dim(i));
      left_strides.push_back(strides[static_cast<size_t>(i)]);
    }
  int64_t count = 1;
  for (const int axis : order) {
    joined.push_back(x.dim(axis));
    joined_strides.push_back(strides[static_cast<size_t>(axis)]);
    count *= x.dim(axis);
  }
  Tensor& y = context.out(0);
  for (int64_t i = 0; i < y.elements(); ++i) {
    const int64_t first = nn::offset_of(i, left, left_strides);
    std::string text;
    for (int64_t k = 0; k < count; ++k) {
      if (k > 0) text += separator;
      text += x.data<std::string>()[first + nn::offset_of(k, joined, joined_strides)];
    }
    y.mutable_data<std::string>()[i] = std::move(text);
  }
  return {};
}

Result<TensorTypes> TextJoinSegments::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  if (context.dtype(0) != DType::string)
    return invalid_argument("text_join_segments needs strings");
  TRY(require_indices(context, 1, name, "the segments"));
  TRY(require_indices(context, 2, name, "their count"));
  TRY(nn::expect_scalar(context, name, 2));
  const Shape &x = context.shape(0), &segments = context.shape(1);
  if (!x.ranked() || !segments.ranked()) return TensorTypes{{DType::string, Shape::unranked()}};
  if (segments.rank() > x.rank())
    return invalid_argument("text_join_segments: the segments have more dimensions than the text");
  Shape out{Dim::unknown()};
  if (const auto count = context.ints(2); count && count->size() == 1)
    out[0] = (*count)[0].as_dim();
  for (int i = segments.rank(); i < x.rank(); ++i) out.dims().push_back(x[i]);
  return TensorTypes{{DType::string, out}};
}

Status TextJoinSegments::eval(EvalContext& context) const {
  const Tensor &x = context.in(0), &segments = context.in(1);
  const int rank = segments.rank();
  const bool fits = rank <= x.rank() && context.in(2).elements() == 1 &&
                    std::equal(segments.dims().begin(), segments.dims().end(), x.dims().begin());
  const int64_t count = fits ? context.in(2).int_at(0) : -1;
  if (count < 0)
    return invalid_argument(
        "text_join_segments needs the number of a segment for each string, and their count");
  std::vector<int64_t> dims{count};
  dims.insert(dims.end(), x.dims().begin() + rank, x.dims().end());
  TRY(checked_elements(dims, sizeof(std::string)));
  TRY(context.allocate(0, DType::string, dims));
  const int64_t inner = product(x.dims(), rank, x.rank());
  auto* out = context.out(0).mutable_data<std::string>();
  std::vector<bool> begun(static_cast<size_t>(count));
  for (int64_t i = 0; i < segments.elements(); ++i) {
    const int64_t to = segments.int_at(i);
    if (to < 0 || to >= count)
      return invalid_argument(
          fmt::format("text_join_segments: segment {} is not below {}", to, count));
    for (int64_t k = 0; k < inner; ++k) {
      std::string& text = out[to * inner + k];
      if (begun[static_cast<size_t>(to)]) text += separator;
      text += x.data<std::string>()[i * inner + k];
    }
    begun[static_cast<size_t>(to)] = true;
  }
  return {};
}

Result<TensorTypes> RegexReplace::infer(const InferContext& context) const {
  return same_shape(context, name, DType::string);
}

Status RegexReplace::eval(EvalContext& context) const {
  const Regex regex = TRY(Regex::compile(TRY(single_string(context, 1, name))));
  const std::string rewrite = TRY(single_string(context, 2, name));
  const auto in = context.in(0).span<std::string>();
  for (size_t i = 0; i < in.size(); ++i)
    context.out(0).mutable_data<std::string>()[i] = TRY(regex.replace(in[i], rewrite, all));
  return {};
}

constinit const OpDef TextCase::def = define<TextCase>();
constinit const OpDef TextStrip::def = define<TextStrip>();
constinit const OpDef TextLength::def = define<TextLength>();
constinit const OpDef TextSlice::def = define<TextSlice>();
constinit const OpDef TextReduce::def = define<TextReduce>();
constinit const OpDef TextJoinSegments::def = define<TextJoinSegments>();
constinit const OpDef RegexReplace::def = define<RegexReplace>();
OpDefs text_ops() {
  return {&TextCase::def,   &TextStrip::def,        &TextLength::def,  &TextSlice::def,
          &TextReduce::def, &TextJoinSegments::def, &RegexReplace::def};
}

}  // namespace tenon
