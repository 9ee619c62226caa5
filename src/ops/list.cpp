#include "ops/list.h"

#include <fmt/format.h>

#include <algorithm>

#include "ops/movement.h"
#include "ops/registry.h"

namespace tenon {
namespace {

// A list that asks for more is a damaged model.
constexpr int64_t kMaxItems = int64_t{1} << 22;

TensorType list_of(TensorType element) {
  element.is_list = true;
  return element;
}

Status require_element(const TensorType& element, std::string_view op) {
  if (!element.is_none() && !element.is_list) return {};
  return invalid_argument(
      fmt::format("{}: element must be a tensor type, not {}", op, element.to_string()));
}

Status require_list(const InferContext& context, std::string_view op) {
  if (context.has(0) && context.type(0).is_list) return {};
  return invalid_argument(fmt::format("{} needs a list, not {}", op, context.type(0).to_string()));
}

// The type of an item: what the list and the attribute say.
Result<TensorType> item_type(const InferContext& context, const TensorType& element,
                             std::string_view op) {
  TRY(require_list(context, op));
  TensorType type{context.dtype(0), context.shape(0)};
  if (element.is_none()) return type;
  const auto merged = merge_shapes(type.shape, element.shape);
  if (element.dtype != type.dtype || !merged)
    return invalid_argument(fmt::format("{}: a {} does not hold items of {}", op,
                                        context.type(0).to_string(), element.to_string()));
  type.shape = *merged;
  return type;
}

// The type of the list of operand 0 with the item of operand i.
Result<TensorTypes> list_with(const InferContext& context, int i, std::string_view op) {
  TRY(require_list(context, op));
  const TensorType& item = context.type(i);
  if (item.is_list || item.dtype != context.dtype(0))
    return invalid_argument(fmt::format("{}: a {} cannot hold a {}", op,
                                        context.type(0).to_string(), item.to_string()));
  TensorType type = context.type(0);
  type.shape = join_shapes(type.shape, item.shape);
  return TensorTypes{type};
}

Status require_scalar(const InferContext& context, int i, std::string_view op,
                      std::string_view what) {
  TRY(require_indices(context, i, op, what));
  const auto n = context.shape(i).elements();
  if (n && *n != 1)
    return invalid_argument(
        fmt::format("{} needs one value for {}, not {}", op, what, context.type(i).to_string()));
  return {};
}

// The operand may lie in memory that is used again: a list owns its items.
Result<Tensor> own(const Tensor& item) {
  return item.clone();
}

// An item as a tensor: zeros where it was never set.
Result<Tensor> read_item(const std::vector<Tensor>& items, size_t index, DType dtype,
                         const TensorType& element) {
  if (items[index].defined()) return items[index];
  Shape shape = element.is_none() ? Shape::unranked() : element.shape;
  for (const Tensor& other : items) {
    if (shape.is_static()) break;
    if (!other.defined()) continue;
    if (const auto merged = merge_shapes(shape, Shape::of(other.dims()))) shape = *merged;
  }
  if (!shape.is_static())
    return invalid_argument(fmt::format(
        "item {} of a list was read before it was set, and its shape is not known", index));
  return Tensor::zeros(dtype, shape.sizes());
}

void give(EvalContext& context, int i, const Tensor& item) {
  Tensor& out = context.out(i);
  if (out.defined() && out.dims() == item.dims())
    copy_elements(out, 0, item, 0, item.elements());
  else
    out = item;
}

Result<int64_t> position_of(const EvalContext& context, int i, int64_t fallback, int64_t size,
                            std::string_view op) {
  return wrap_index(context.has(i) ? context.in(i).int_at(0) : fallback, size, op);
}

// The part of x between two indices of an axis.
Result<Tensor> cut(const Tensor& x, int axis, int64_t from, int64_t to, bool keep) {
  auto dims = x.dims();
  dims[static_cast<size_t>(axis)] = to - from;
  Tensor part = TRY(Tensor::allocate(x.dtype(), dims));
  const int64_t outer = product(dims, 0, axis), inner = product(dims, axis + 1, x.rank());
  const int64_t row = x.dim(axis) * inner, run = (to - from) * inner;
  for (int64_t o = 0; o < outer; ++o) copy_elements(part, o * run, x, o * row + from * inner, run);
  if (keep) return part;
  dims.erase(dims.begin() + axis);
  return part.reshaped(dims);
}

}  // namespace

Result<TensorTypes> ListEmpty::infer(const InferContext&) const {
  TRY(require_element(element, name));
  return TensorTypes{list_of(element)};
}
Status ListEmpty::eval(EvalContext& context) const {
  context.out(0) = Tensor::list(element.dtype, {});
  return {};
}

Result<TensorTypes> ListReserve::infer(const InferContext& context) const {
  if (element.is_list) TRY(require_element(element, name));
  TRY(require_scalar(context, 0, name, "the number of items"));
  return TensorTypes{list_of(element)};
}
Status ListReserve::eval(EvalContext& context) const {
  const int64_t n = context.in(0).int_at(0);
  if (n < 0 || n > kMaxItems)
    return invalid_argument(
        fmt::format("list_reserve: {} items are outside of [0, {}]", n, kMaxItems));
  context.out(0) = Tensor::list(element.dtype, std::vector<Tensor>(static_cast<size_t>(n)));
  return {};
}

Result<TensorTypes> ListMake::infer(const InferContext& context) const {
  TensorType type = element;
  if (context.size() == 0) TRY(require_element(element, name));
  for (int i = 0; i < context.size(); ++i) {
    const TensorType& item = context.type(i);
    if (type.is_none()) type = item;
    if (item.is_list || item.is_none() || item.dtype != type.dtype)
      return invalid_argument(fmt::format("list_make: {} and {} cannot be items of one list",
                                          type.to_string(), item.to_string()));
    type.shape = join_shapes(type.shape, item.shape);
  }
  return TensorTypes{list_of(type)};
}
Status ListMake::eval(EvalContext& context) const {
  std::vector<Tensor> items;
  items.reserve(static_cast<size_t>(context.size()));
  for (int i = 0; i < context.size(); ++i) items.push_back(TRY(own(context.in(i))));
  const DType dtype = items.empty() ? element.dtype : items[0].dtype();
  context.out(0) = Tensor::list(dtype, std::move(items));
  return {};
}

Result<TensorTypes> ListSet::infer(const InferContext& context) const {
  TRY(require_scalar(context, 1, name, "the index"));
  return list_with(context, 2, name);
}
Status ListSet::set(std::vector<Tensor>& items, int64_t index, const Tensor& item) {
  if (index < 0 || index >= kMaxItems)
    return invalid_argument(fmt::format("list_set: index {} is outside of the list", index));
  if (index >= static_cast<int64_t>(items.size())) items.resize(static_cast<size_t>(index) + 1);
  items[static_cast<size_t>(index)] = TRY(own(item));
  return {};
}
Status ListSet::eval(EvalContext& context) const {
  std::vector<Tensor> items = context.in(0).items();
  TRY(set(items, context.in(1).int_at(0), context.in(2)));
  context.out(0) = Tensor::list(context.in(0).dtype(), std::move(items));
  return {};
}

Result<TensorTypes> ListGet::infer(const InferContext& context) const {
  TRY(require_scalar(context, 1, name, "the index"));
  return TensorTypes{TRY(item_type(context, element, name))};
}
Status ListGet::eval(EvalContext& context) const {
  const auto& items = context.in(0).items();
  const int64_t index =
      TRY(wrap_index(context.in(1).int_at(0), static_cast<int64_t>(items.size()), "list_get"));
  give(context, 0,
       TRY(read_item(items, static_cast<size_t>(index), context.in(0).dtype(), element)));
  return {};
}

Result<TensorTypes> ListPush::infer(const InferContext& context) const {
  return list_with(context, 1, name);
}
Status ListPush::push(std::vector<Tensor>& items, const Tensor& item) {
  if (static_cast<int64_t>(items.size()) >= kMaxItems)
    return invalid_argument("list_push: the list has too many items");
  items.push_back(TRY(own(item)));
  return {};
}
Status ListPush::eval(EvalContext& context) const {
  std::vector<Tensor> items = context.in(0).items();
  TRY(push(items, context.in(1)));
  context.out(0) = Tensor::list(context.in(0).dtype(), std::move(items));
  return {};
}

Result<TensorTypes> ListPop::infer(const InferContext& context) const {
  return TensorTypes{context.type(0), TRY(item_type(context, element, name))};
}
Status ListPop::eval(EvalContext& context) const {
  std::vector<Tensor> items = context.in(0).items();
  if (items.empty()) return invalid_argument("list_pop: the list is empty");
  const Tensor last = TRY(read_item(items, items.size() - 1, context.in(0).dtype(), element));
  items.pop_back();
  context.out(0) = Tensor::list(context.in(0).dtype(), std::move(items));
  give(context, 1, last);
  return {};
}

Result<TensorTypes> ListInsert::infer(const InferContext& context) const {
  if (context.has(2)) TRY(require_scalar(context, 2, name, "the position"));
  return list_with(context, 1, name);
}
Status ListInsert::eval(EvalContext& context) const {
  std::vector<Tensor> items = context.in(0).items();
  const auto n = static_cast<int64_t>(items.size());
  // One past the end is a position too.
  int64_t at = context.has(2) ? context.in(2).int_at(0) : n;
  if (at < 0) at += n;
  if (at < 0 || at > n || n >= kMaxItems)
    return invalid_argument(
        fmt::format("list_insert: the position is outside of a list of {} items", n));
  items.insert(items.begin() + at, TRY(own(context.in(1))));
  context.out(0) = Tensor::list(context.in(0).dtype(), std::move(items));
  return {};
}

Result<TensorTypes> ListErase::infer(const InferContext& context) const {
  TRY(require_list(context, name));
  if (context.has(1)) TRY(require_scalar(context, 1, name, "the position"));
  return TensorTypes{context.type(0)};
}
Status ListErase::eval(EvalContext& context) const {
  std::vector<Tensor> items = context.in(0).items();
  items.erase(items.begin() +
              TRY(position_of(context, 1, -1, static_cast<int64_t>(items.size()), name)));
  context.out(0) = Tensor::list(context.in(0).dtype(), std::move(items));
  return {};
}

Result<TensorTypes> ListLength::infer(const InferContext& context) const {
  TRY(require_list(context, name));
  if (dtype != DType::i32 && dtype != DType::i64)
    return invalid_argument("list_length: dtype must be i32 or i64");
  return TensorTypes{{dtype, Shape()}};
}
Status ListLength::eval(EvalContext& context) const {
  const int64_t n = context.in(0).elements();
  if (dtype == DType::i32)
    context.out(0).mutable_data<int32_t>()[0] = static_cast<int32_t>(n);
  else
    context.out(0).mutable_data<int64_t>()[0] = n;
  return {};
}

Result<TensorTypes> ListStack::infer(const InferContext& context) const {
  TensorType type = TRY(item_type(context, element, name));
  if (!type.shape.ranked()) return TensorTypes{type};
  Dim n = num >= 0 ? Dim(num) : Dim::unknown();
  if (const Tensor* list = context.constant(0)) n = list->elements();
  type.shape.dims().insert(type.shape.dims().begin(), n);
  return TensorTypes{type};
}
Status ListStack::eval(EvalContext& context) const {
  const Tensor& list = context.in(0);
  const auto& items = list.items();
  const auto n = static_cast<int64_t>(items.size());
  if (num >= 0 && num != n)
    return invalid_argument(fmt::format("list_stack: {} items expected, the list has {}", num, n));
  std::vector<int64_t> dims{n};
  if (items.empty()) {
    if (element.is_none() || !element.shape.ranked())
      return invalid_argument("list_stack: the list is empty and its items' shape is not known");
    for (const Dim d : element.shape.dims()) dims.push_back(d.size_or(0));
    return context.out(0).defined() ? Status() : context.allocate(0, list.dtype(), dims);
  }
  Tensor item = TRY(read_item(items, 0, list.dtype(), element));
  const auto first = item.dims();
  const int64_t run = item.elements();
  dims.insert(dims.end(), first.begin(), first.end());
  if (!context.out(0).defined() || context.out(0).dims() != dims)
    TRY(context.allocate(0, list.dtype(), dims));
  for (int64_t i = 0; i < n; ++i) {
    if (i > 0) item = TRY(read_item(items, static_cast<size_t>(i), list.dtype(), element));
    if (item.dims() != first)
      return invalid_argument(
          fmt::format("list_stack: items 0 and {} differ in shape: [{}] and [{}]", i,
                      fmt::join(first, ","), fmt::join(item.dims(), ",")));
    copy_elements(context.out(0), i * run, item, 0, run);
  }
  return {};
}

Result<TensorTypes> ListUnstack::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  TensorType type = list_of(context.type(0));
  if (!type.shape.ranked()) return TensorTypes{type};
  if (type.shape.rank() < 1) return invalid_argument("list_unstack needs at least one dimension");
  type.shape.dims().erase(type.shape.dims().begin());
  return TensorTypes{type};
}
Status ListUnstack::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  if (x.dim(0) > kMaxItems) return invalid_argument("list_unstack: too many items");
  // The items share one copy.
  const Tensor whole = TRY(own(x));
  const std::vector<int64_t> dims(x.dims().begin() + 1, x.dims().end());
  const Tensor item = Tensor::view(x.dtype(), dims, nullptr);
  const auto* at = static_cast<const std::byte*>(whole.raw());
  std::vector<Tensor> items(static_cast<size_t>(x.dim(0)), item);
  for (Tensor& t : items) t.rebind(at, whole.owner()), at += item.byte_size();
  context.out(0) = Tensor::list(x.dtype(), std::move(items));
  return {};
}

Result<TensorTypes> ListConcat::infer(const InferContext& context) const {
  TensorType type = TRY(item_type(context, element, name));
  if (!type.shape.ranked()) return TensorTypes{type};
  const int rank = type.shape.rank() + (new_axis ? 1 : 0);
  const int a = TRY(normalize_axes(std::span(&axis, 1), rank, name))[0];
  if (new_axis)
    type.shape.dims().insert(type.shape.dims().begin() + a, Dim::unknown());
  else
    type.shape[a] = Dim::unknown();
  return TensorTypes{type};
}
Status ListConcat::eval(EvalContext& context) const {
  const Tensor& list = context.in(0);
  std::vector<Tensor> items;
  for (size_t i = 0; i < list.items().size(); ++i)
    items.push_back(TRY(read_item(list.items(), i, list.dtype(), element)));
  if (items.empty()) {
    if (element.is_none() || !element.shape.ranked())
      return invalid_argument("list_concat: the list is empty and its items' shape is not known");
    std::vector<int64_t> dims;
    for (const Dim d : element.shape.dims()) dims.push_back(d.size_or(0));
    const int a = TRY(normalize_axis(axis, element.shape.rank() + (new_axis ? 1 : 0)));
    if (new_axis)
      dims.insert(dims.begin() + a, 0);
    else
      dims[static_cast<size_t>(a)] = 0;
    return context.allocate(0, list.dtype(), dims);
  }
  const int a =
      TRY(normalize_axes(std::span(&axis, 1), items[0].rank() + (new_axis ? 1 : 0), name))[0];
  const auto at = static_cast<size_t>(a);
  auto dims = items[0].dims();
  if (new_axis) dims.insert(dims.begin() + a, 1);
  int64_t total = 0;
  for (Tensor& item : items) {
    auto own_dims = item.dims();
    if (new_axis && a <= item.rank()) own_dims.insert(own_dims.begin() + a, 1);
    const bool same_rank = own_dims.size() == dims.size();
    if (same_rank) total += own_dims[at], dims[at] = own_dims[at];
    if (!same_rank || own_dims != dims)
      return invalid_argument("list_concat: the items' shapes do not fit together");
    item = item.reshaped(own_dims);
  }
  dims[at] = total;
  TRY(context.allocate(0, list.dtype(), dims));
  const auto rank = static_cast<int>(dims.size());
  const int64_t outer = product(dims, 0, a), row = product(dims, a, rank);
  int64_t to = 0;
  for (const Tensor& item : items) {
    const int64_t run = product(item.dims(), a, rank);
    for (int64_t o = 0; o < outer; ++o)
      copy_elements(context.out(0), o * row + to, item, o * run, run);
    to += run;
  }
  return {};
}

Result<TensorTypes> ListSplit::infer(const InferContext& context) const {
  TRY(require_tensors(context, name));
  if (context.has(1)) TRY(require_indices(context, 1, name, "sizes"));
  TensorType type = list_of(context.type(0));
  if (!type.shape.ranked()) return TensorTypes{type};
  const int a = TRY(normalize_axes(std::span(&axis, 1), type.shape.rank(), name))[0];
  if (context.has(1))
    type.shape[a] = Dim::unknown();
  else if (keep_dims)
    type.shape[a] = 1;
  else
    type.shape.dims().erase(type.shape.dims().begin() + a);
  return TensorTypes{type};
}
Status ListSplit::eval(EvalContext& context) const {
  const Tensor& x = context.in(0);
  const int a = TRY(normalize_axis(axis, x.rank()));
  const int64_t whole = x.dim(a);
  std::vector<int64_t> sizes;
  int64_t chunk = 1;
  if (context.has(1) && context.in(1).rank() > 0) {
    sizes = context.in(1).to_ints();
  } else {
    if (context.has(1)) chunk = context.in(1).int_at(0);
    if (chunk < 1 || whole / chunk > kMaxItems)
      return invalid_argument(fmt::format("list_split: parts of {} are not possible", chunk));
    for (int64_t at = 0; at < whole; at += chunk) sizes.push_back(std::min(chunk, whole - at));
  }
  std::vector<Tensor> items;
  int64_t at = 0;
  for (const int64_t size : sizes) {
    if (size < 0 || size > whole - at) break;
    items.push_back(TRY(cut(x, a, at, at + size, keep_dims || context.has(1))));
    at += size;
  }
  if (items.size() != sizes.size() || at != whole)
    return invalid_argument(
        fmt::format("list_split: the sizes [{}] do not add up to the dimension {}",
                    fmt::join(sizes, ","), whole));
  context.out(0) = Tensor::list(x.dtype(), std::move(items));
  return {};
}

constinit const OpDef ListEmpty::def = define<ListEmpty>();
constinit const OpDef ListReserve::def = define<ListReserve>();
constinit const OpDef ListMake::def = define<ListMake>();
constinit const OpDef ListSet::def = define<ListSet>();
constinit const OpDef ListGet::def = define<ListGet>();
constinit const OpDef ListPush::def = define<ListPush>();
constinit const OpDef ListPop::def = define<ListPop>();
constinit const OpDef ListInsert::def = define<ListInsert>();
constinit const OpDef ListErase::def = define<ListErase>();
constinit const OpDef ListLength::def = define<ListLength>();
constinit const OpDef ListStack::def = define<ListStack>();
constinit const OpDef ListUnstack::def = define<ListUnstack>();
constinit const OpDef ListConcat::def = define<ListConcat>();
constinit const OpDef ListSplit::def = define<ListSplit>();
OpDefs list_ops() {
  return {&ListEmpty::def, &ListReserve::def, &ListMake::def,   &ListSet::def,   &ListGet::def,
          &ListPush::def,  &ListPop::def,     &ListInsert::def, &ListErase::def, &ListLength::def,
          &ListStack::def, &ListUnstack::def, &ListConcat::def, &ListSplit::def};
}

}  // namespace tenon
