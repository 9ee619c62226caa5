#include "ops/set_operation.h"

#include <algorithm>
#include <set>

#include "ops/movement.h"
#include "ops/registry.h"
#include "ops/sparse_rows.h"

namespace tenon {
namespace {

// An element by where it stands: operand 1 or 4, and the index in it.
struct Element {
  int operand;
  int64_t index;
};

class Rows {
 public:
  Rows(const EvalContext& context, SetKind kind) : context_(context), kind_(kind) {}

  // The elements of one row, ascending.
  std::vector<Element> row(const std::vector<int64_t>* a, const std::vector<int64_t>* b) const {
    const std::vector<Element> x = distinct(a, 1), y = distinct(b, 4);
    std::vector<Element> out;
    const auto less = [this](const Element& l, const Element& r) { return is_less(l, r); };
    const auto into = std::back_inserter(out);
    if (kind_ == SetKind::a_without_b)
      std::ranges::set_difference(x, y, into, less);
    else if (kind_ == SetKind::b_without_a)
      std::ranges::set_difference(y, x, into, less);
    else if (kind_ == SetKind::both)
      std::ranges::set_intersection(x, y, into, less);
    else
      std::ranges::set_union(x, y, into, less);
    return out;
  }

 private:
  bool is_less(const Element& l, const Element& r) const {
    const Tensor &a = context_.in(l.operand), &b = context_.in(r.operand);
    if (a.dtype() == DType::string)
      return a.data<std::string>()[l.index] < b.data<std::string>()[r.index];
    return a.int_at(l.index) < b.int_at(r.index);
  }
  std::vector<Element> distinct(const std::vector<int64_t>* indices, int operand) const {
    std::vector<Element> all;
    if (indices == nullptr) return all;
    for (const int64_t i : *indices) all.push_back({operand, i});
    const auto less = [this](const Element& l, const Element& r) { return is_less(l, r); };
    std::ranges::sort(all, less);
    const auto same = [&](const Element& l, const Element& r) {
      return !less(l, r) && !less(r, l);
    };
    all.erase(std::unique(all.begin(), all.end(), same), all.end());
    return all;
  }

  const EvalContext& context_;
  SetKind kind_;
};

}  // namespace

Result<TensorTypes> SetOperation::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  TRY(expect_sparse(context, name, 0));
  TRY(expect_sparse(context, name, 3));
  const DType t = context.dtype(1);
  if (t != context.dtype(4) || (!is_int(t) && t != DType::string) || t == DType::u64)
    return invalid_argument("set_operation: both tensors must hold strings, or integers of a type");
  Dim rank = Dim::unknown();
  for (const int i : {2, 5})
    if (context.shape(i).ranked() && context.shape(i)[0].known()) rank = context.shape(i)[0];
  return TensorTypes{{DType::i64, Shape{Dim::unknown(), rank}},
                     {t, Shape{Dim::unknown()}},
                     {DType::i64, Shape{rank}}};
}

Status SetOperation::eval(EvalContext& context) const {
  const std::vector<int64_t> size = TRY(sparse_size(context, name, 0));
  const auto other = TRY(sparse_size(context, name, 3));
  const size_t rank = size.size();
  std::vector<int64_t> dims = size;
  dims.pop_back();
  if (other.size() != rank || !std::equal(dims.begin(), dims.end(), other.begin()))
    return invalid_argument("set_operation: all dimensions but the last must be the same");
  TRY(checked_elements(dims, 1));
  auto a = TRY(sparse_rows(context, name, 0, dims)), b = TRY(sparse_rows(context, name, 3, dims));
  std::set<int64_t> numbers;
  for (const auto* rows : {&a.rows, &b.rows})
    for (const auto& [row, indices] : *rows) numbers.insert(row);
  const Rows rows(context, kind);
  std::vector<Element> elements;
  std::vector<int64_t> places;
  int64_t most = 0;
  for (const int64_t row : numbers) {
    const auto x = a.rows.find(row), y = b.rows.find(row);
    const auto kept = rows.row(x == a.rows.end() ? nullptr : &x->second,
                               y == b.rows.end() ? nullptr : &y->second);
    most = std::max(most, static_cast<int64_t>(kept.size()));
    for (size_t i = 0; i < kept.size(); ++i) {
      const size_t begin = places.size();
      places.resize(begin + rank);
      places[begin + rank - 1] = static_cast<int64_t>(i);
      int64_t rest = row;
      for (size_t k = rank - 1; k-- > 0; rest /= dims[k]) places[begin + k] = rest % dims[k];
    }
    elements.insert(elements.end(), kept.begin(), kept.end());
  }
  const auto count = static_cast<int64_t>(elements.size()), columns = static_cast<int64_t>(rank);
  const int64_t shape[] = {count, columns};
  TRY(context.allocate(0, DType::i64, shape));
  std::ranges::copy(places, context.out(0).mutable_data<int64_t>());
  TRY(context.allocate(1, context.in(1).dtype(), std::span(&count, 1)));
  for (int64_t i = 0; i < count; ++i) {
    const Element& e = elements[static_cast<size_t>(i)];
    copy_elements(context.out(1), i, context.in(e.operand), e.index, 1);
  }
  TRY(context.allocate(2, DType::i64, std::span(&columns, 1)));
  std::ranges::copy(dims, context.out(2).mutable_data<int64_t>());
  context.out(2).mutable_data<int64_t>()[rank - 1] = most;
  return {};
}

constinit const OpDef SetOperation::def = define<SetOperation>();
OpDefs set_operation_ops() {
  return {&SetOperation::def};
}

}  // namespace tenon
