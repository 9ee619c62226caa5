#include "ops/reshape.h"

#include <fmt/format.h>

#include <algorithm>

#include "ops/movement.h"
#include "ops/registry.h"
#include "tensor/dim_product.h"

namespace tenon {
namespace {

// A product of dimensions, kept as factors so that equal symbols cancel.
struct Factors {
  int64_t known = 1;
  std::vector<Dim> symbols;
  bool complete = true;  // no unknown factor, no overflow

  void multiply(Dim product) {
    for (const Dim d : factors(product)) {
      if (d.known())
        complete &= !__builtin_mul_overflow(known, d.size(), &known);
      else if (d.is_symbol())
        symbols.push_back(d);
      else
        complete = false;
    }
  }
};

// total / part, where that is a dimension we can name.
struct Quotient {
  Dim dim = Dim::unknown();
  bool impossible = false;
};

Quotient divide(Factors total, Factors part) {
  if (!total.complete || !part.complete) return {};
  for (const Dim s : part.symbols) {
    const auto it = std::find(total.symbols.begin(), total.symbols.end(), s);
    if (it == total.symbols.end()) return {};
    total.symbols.erase(it);
  }
  if (part.known == 0) return {Dim::unknown(), true};
  if (total.known == 0) return {Dim(0), false};
  if (total.symbols.empty()) {
    if (total.known % part.known == 0) return {Dim(total.known / part.known), false};
    return {Dim::unknown(), part.symbols.empty()};
  }
  if (total.known % part.known != 0) return {};
  Dim left = total.known / part.known;
  for (const Dim s : total.symbols) left = left * s;
  return {left, false};
}

}  // namespace

Result<TensorTypes> Reshape::infer(const InferContext& context) const {
  TRY(require_tensors(context, "reshape"));
  TRY(require_indices(context, 1, "reshape", "a shape", 1));
  const Shape& x = context.shape(0);
  const Shape& target_shape = context.shape(1);
  TensorType out{context.dtype(0), Shape::unranked()};
  constexpr int64_t kMaxRank = 64;
  if (const auto rank = target_shape.elements(); rank && *rank > kMaxRank)
    return invalid_argument(fmt::format("reshape: {} dimensions are too many", *rank));
  const auto target = context.ints(1);
  if (!target) {
    if (target_shape.ranked() && target_shape[0].known())
      out.shape = Shape::unknown_dims(static_cast<int>(target_shape[0].size()));
    return TensorTypes{out};
  }
  out.shape = Shape::unknown_dims(static_cast<int>(target->size()));
  std::vector<bool> copied(x.dims().size());
  Factors part;
  int hole = -1, unknowns = 0;
  bool inferred = false;
  for (size_t i = 0; i < target->size(); ++i) {
    const SymInt& t = (*target)[i];
    Dim& d = out.shape[static_cast<int>(i)];
    if (t.value && *t.value == -1) {
      if (inferred)
        return invalid_argument("reshape: at most one dimension of the shape may be -1");
      inferred = true, hole = static_cast<int>(i), ++unknowns;
    } else if (t.value && *t.value < 0) {
      return invalid_argument(
          fmt::format("reshape: {} is no dimension; -1 stands for the one to infer", *t.value));
    } else if (t.value && *t.value == 0 && !allow_zero) {
      if (!x.ranked()) {
        ++unknowns;
        continue;
      }
      if (i >= x.dims().size())
        return invalid_argument(
            fmt::format("reshape: 0 copies dimension {} of the input, which is {}", i,
                        context.type(0).to_string()));
      // The same unknown on both sides cancels.
      d = x[static_cast<int>(i)];
      copied[i] = true;
    } else {
      d = t.as_dim();
      if (!d.known() && !d.is_symbol()) {
        ++unknowns;
        if (!inferred) hole = static_cast<int>(i);
      } else {
        part.multiply(d);
      }
    }
  }
  Factors total;
  if (!x.ranked()) total.complete = false;
  for (size_t i = 0; i < x.dims().size(); ++i)
    if (!copied[i]) total.multiply(x.dims()[i]);
  const auto mismatch = [&] {
    std::string text;
    for (const SymInt& t : *target)
      text += (text.empty() ? "" : ",") + (t.value ? std::to_string(*t.value) : t.dim.to_string());
    return invalid_argument(
        fmt::format("reshape: {} cannot take the shape [{}]: the numbers of elements differ",
                    context.type(0).to_string(), text));
  };
  if (unknowns == 0) {
    // Not by what is left after cancelling: a dimension of 0 makes the others free.
    const auto have = x.elements(), want = out.shape.elements();
    if (have && want && *have != *want) return mismatch();
  } else if (unknowns == 1 && hole >= 0) {
    const Quotient q = divide(std::move(total), std::move(part));
    if (q.impossible && inferred) return mismatch();
    out.shape[hole] = q.dim;
  }
  return TensorTypes{out};
}

std::optional<SymInts> Reshape::infer_ints(const InferContext& context) const {
  return small_ints(context, 0);
}
Status Reshape::eval(EvalContext& context) const {
  return forward(context);
}

Result<TensorTypes> ExpandDims::infer(const InferContext& context) const {
  TRY(require_tensors(context, "expand_dims"));
  TensorType out = context.type(0);
  if (!out.shape.ranked()) return TensorTypes{out};
  const int rank = out.shape.rank() + static_cast<int>(axes.size());
  auto sorted = TRY(normalize_axes(axes, rank, "expand_dims"));
  std::sort(sorted.begin(), sorted.end());
  for (const int axis : sorted) out.shape.dims().insert(out.shape.dims().begin() + axis, Dim(1));
  return TensorTypes{out};
}
std::optional<SymInts> ExpandDims::infer_ints(const InferContext& context) const {
  return small_ints(context, 0);
}
Status ExpandDims::eval(EvalContext& context) const {
  return forward(context);
}

Result<TensorTypes> Squeeze::infer(const InferContext& context) const {
  TRY(require_tensors(context, "squeeze"));
  TensorType out = context.type(0);
  const Shape& x = context.shape(0);
  if (!x.ranked()) return TensorTypes{out};
  if (axes.empty()) {
    // An unknown dimension may turn out to be 1: then the rank is not known either.
    for (const Dim d : x.dims())
      if (!d.known()) return TensorTypes{{out.dtype, Shape::unranked()}};
    std::erase(out.shape.dims(), Dim(1));
    return TensorTypes{out};
  }
  auto sorted = TRY(normalize_axes(axes, x.rank(), "squeeze"));
  std::sort(sorted.rbegin(), sorted.rend());
  for (const int axis : sorted) {
    if (x[axis].known() && x[axis].size() != 1)
      return invalid_argument(
          fmt::format("squeeze: dimension {} of {} is not 1", axis, context.type(0).to_string()));
    out.shape.dims().erase(out.shape.dims().begin() + axis);
  }
  return TensorTypes{out};
}
std::optional<SymInts> Squeeze::infer_ints(const InferContext& context) const {
  return small_ints(context, 0);
}
Status Squeeze::eval(EvalContext& context) const {
  return forward(context);
}

Result<TensorTypes> Identity::infer(const InferContext& context) const {
  return TensorTypes{context.type(0)};
}
std::optional<SymInts> Identity::infer_ints(const InferContext& context) const {
  return small_ints(context, 0);
}
Status Identity::eval(EvalContext& context) const {
  return forward(context);
}

constinit const OpDef Reshape::def = define<Reshape>();
constinit const OpDef ExpandDims::def = define<ExpandDims>();
constinit const OpDef Squeeze::def = define<Squeeze>();
constinit const OpDef Identity::def = define<Identity>();
OpDefs reshape_ops() {
  return {&Reshape::def, &ExpandDims::def, &Squeeze::def, &Identity::def};
}

}  // namespace tenon
