#include "lower/static_ints.h"

#include <algorithm>

#include "simulate/elements.h"

namespace tenon::lower {

std::optional<Tensor> known_ints(const Value& value) {
  const auto& ints = value.ints();
  if (!ints || !simulate::is_exact(value.dtype()) || !value.shape().is_static()) return {};
  std::vector<int64_t> numbers, dims;
  for (const SymInt& i : *ints) {
    if (!i.value) return {};
    numbers.push_back(*i.value);
  }
  for (const Dim& d : value.shape().dims()) dims.push_back(d.size_or(1));
  auto t = Tensor::allocate(value.dtype(), dims);
  if (!t.ok() || t->elements() != std::ssize(numbers)) return {};
  simulate::store_ints(numbers.data(), t->elements(), t->dtype(), 1,
                       static_cast<std::byte*>(t->mutable_raw()));
  return std::move(*t);
}

bool is_static_int(const Node& node) {
  return node.output_count() == 1 && known_ints(*node.output()).has_value();
}

}  // namespace tenon::lower
