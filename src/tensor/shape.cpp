#include "tensor/shape.h"

#include <fmt/core.h>

#include <charconv>
#include <deque>
#include <mutex>
#include <unordered_map>

namespace tenon {
namespace {

// Names of symbols, for the life of the process. Models bring few.
struct SymbolTable {
  std::mutex mutex;
  std::deque<std::string> names;
  std::unordered_map<std::string_view, int64_t> index;
};

SymbolTable& symbols() {
  static SymbolTable table;
  return table;
}

}  // namespace

Dim Dim::symbol(std::string_view name) {
  SymbolTable& table = symbols();
  const std::lock_guard lock(table.mutex);
  Dim dim;
  if (const auto it = table.index.find(name); it != table.index.end()) {
    dim.code_ = -2 - it->second;
    return dim;
  }
  const auto id = static_cast<int64_t>(table.names.size());
  table.names.emplace_back(name);
  table.index.emplace(table.names.back(), id);
  dim.code_ = -2 - id;
  return dim;
}

std::string_view Dim::name() const {
  if (!is_symbol()) return {};
  SymbolTable& table = symbols();
  const std::lock_guard lock(table.mutex);
  return table.names[static_cast<size_t>(-2 - code_)];
}

std::string Dim::to_string() const {
  if (known()) return std::to_string(code_);
  return fmt::format("?{}", name());
}

Dim operator+(Dim a, Dim b) {
  if (a == Dim(0)) return b;
  if (b == Dim(0)) return a;
  int64_t sum = 0;
  if (a.known() && b.known() && !__builtin_add_overflow(a.size(), b.size(), &sum)) return sum;
  return Dim::unknown();
}

Shape Shape::of(std::span<const int64_t> sizes) {
  Shape shape;
  shape.dims_.assign(sizes.begin(), sizes.end());
  return shape;
}

bool Shape::is_static() const {
  if (!ranked_) return false;
  for (const Dim d : dims_)
    if (!d.known()) return false;
  return true;
}

std::vector<int64_t> Shape::sizes() const {
  std::vector<int64_t> sizes;
  sizes.reserve(dims_.size());
  for (const Dim d : dims_) sizes.push_back(d.size());
  return sizes;
}

std::optional<int64_t> Shape::elements() const {
  if (!is_static()) return std::nullopt;
  int64_t n = 1;
  for (const Dim d : dims_)
    if (d.size() == 0) return 0;
  for (const Dim d : dims_)
    if (__builtin_mul_overflow(n, d.size(), &n)) return std::nullopt;
  return n;
}

std::string Shape::to_string() const {
  if (!ranked_) return "[*]";
  std::string text = "[";
  for (size_t i = 0; i < dims_.size(); ++i) {
    if (i > 0) text += ',';
    text += dims_[i].to_string();
  }
  return text + "]";
}

std::string TensorType::to_string() const {
  if (is_none()) return is_list ? "list<none>" : "none";
  std::string text = std::string(dtype_name(dtype)) + shape.to_string();
  return is_list ? "list<" + text + ">" : text;
}

std::optional<int64_t> TensorType::byte_size() const {
  const auto n = shape.elements();
  int64_t bytes = 0;
  if (is_list || !n || __builtin_mul_overflow(*n, static_cast<int64_t>(dtype_size(dtype)), &bytes))
    return std::nullopt;
  return bytes;
}

Result<TensorType> parse_tensor_type(std::string_view text) {
  const std::string_view whole = text;
  const auto fail = [&] {
    return invalid_argument(
        fmt::format("'{}' is not a tensor type; expected the form f32[?n,3,224,224]", whole));
  };
  TensorType type;
  if (text == "none") return type;
  if (text.starts_with("list<") && text.ends_with(">")) {
    type.is_list = true;
    text = text.substr(5, text.size() - 6);
    if (text == "none") return type;
  }
  const size_t open = text.find('[');
  if (open == std::string_view::npos || !text.ends_with("]")) return fail();
  const auto dtype = parse_dtype(text.substr(0, open));
  if (!dtype || *dtype == DType::none) return fail();
  type.dtype = *dtype;
  std::string_view body = text.substr(open + 1, text.size() - open - 2);
  if (body == "*") {
    type.shape = Shape::unranked();
    return type;
  }
  while (!body.empty()) {
    const size_t comma = body.find(',');
    std::string_view item = body.substr(0, comma);
    while (item.starts_with(" ")) item.remove_prefix(1);
    if (item == "?") {
      type.shape.dims().push_back(Dim::unknown());
    } else if (item.starts_with("?")) {
      type.shape.dims().push_back(Dim::symbol(item.substr(1)));
    } else {
      int64_t size = 0;
      const auto [end, error] = std::from_chars(item.data(), item.data() + item.size(), size);
      if (error != std::errc() || end != item.data() + item.size() || size < 0) return fail();
      type.shape.dims().emplace_back(size);
    }
    if (comma == std::string_view::npos) break;
    body.remove_prefix(comma + 1);
    if (body.empty()) return fail();
  }
  return type;
}

bool is_compatible(const TensorType& declared, const TensorType& actual) {
  if (declared.dtype != actual.dtype || declared.is_list != actual.is_list) return false;
  return merge_shapes(declared.shape, actual.shape).has_value();
}

Result<Shape> broadcast_shapes(const Shape& a, const Shape& b) {
  if (!a.ranked() || !b.ranked()) return Shape::unranked();
  const Shape& longer = a.rank() >= b.rank() ? a : b;
  const Shape& shorter = a.rank() >= b.rank() ? b : a;
  Shape result = longer;
  const int offset = longer.rank() - shorter.rank();
  for (int i = 0; i < shorter.rank(); ++i) {
    const Dim x = longer[offset + i];
    const Dim y = shorter[i];
    Dim& r = result[offset + i];
    if (x == Dim(1))
      r = y;
    else if (y == Dim(1) || x.same(y))
      r = x;
    else if (x.known() && y.known())
      return invalid_argument(fmt::format("shapes {} and {} cannot be broadcast together",
                                          a.to_string(), b.to_string()));
    else if (x.known())
      r = x;
    else if (y.known())
      r = y;
    else
      r = Dim::unknown();
  }
  return result;
}

std::optional<Shape> merge_shapes(const Shape& a, const Shape& b) {
  if (!a.ranked()) return b;
  if (!b.ranked()) return a;
  if (a.rank() != b.rank()) return std::nullopt;
  Shape result = a;
  for (int i = 0; i < a.rank(); ++i) {
    if (a[i].known() && b[i].known() && a[i] != b[i]) return std::nullopt;
    if (!a[i].known() && (b[i].known() || (b[i].is_symbol() && !a[i].is_symbol())))
      result[i] = b[i];
  }
  return result;
}

Shape join_shapes(const Shape& a, const Shape& b) {
  if (!a.ranked() || !b.ranked() || a.rank() != b.rank()) return Shape::unranked();
  Shape result = a;
  for (int i = 0; i < a.rank(); ++i)
    if (!a[i].same(b[i])) result[i] = Dim::unknown();
  return result;
}

Result<int> normalize_axis(int64_t axis, int rank) {
  if (axis < -rank || axis >= rank)
    return invalid_argument(fmt::format("axis {} is outside of a tensor of rank {}", axis, rank));
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

}  // namespace tenon
