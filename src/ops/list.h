// Lists of tensors: TensorList and TensorArray of TensorFlow, sequences and optionals of ONNX (an
// optional is a list of no or one item). Values: each op gives a new list; items are shared.
#pragma once

#include "ops/op.h"

namespace tenon {

struct ListEmpty {
  TensorType element;

  static const OpDef def;
  static constexpr std::string_view name = "list_empty";
  static constexpr std::string_view doc = "list_empty(): a list without items.";
  static constexpr Arity inputs{0};
  static constexpr auto fields() {
    return std::tuple{Field{1, "element", &ListEmpty::element, "type of the items"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct ListReserve {
  TensorType element;

  static const OpDef def;
  static constexpr std::string_view name = "list_reserve";
  static constexpr std::string_view doc =
      "list_reserve(n): a list of n items not set yet; one read before it is set is zero.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "element", &ListReserve::element, "type of the items"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct ListMake {
  TensorType element;

  static const OpDef def;
  static constexpr std::string_view name = "list_make";
  static constexpr std::string_view doc = "list_make(items…): a list of these items.";
  static constexpr Arity inputs{0, kVariadic};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "element", &ListMake::element, "type of the items; needed where there are none"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct ListSet {
  static const OpDef def;
  static constexpr std::string_view name = "list_set";
  static constexpr std::string_view doc =
      "list_set(list, index, item): the list with that item replaced; grows to hold it.";
  static constexpr Arity inputs{3};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
  // What it does, in place. Errors: an index that no list has.
  static Status set(std::vector<Tensor>& items, int64_t index, const Tensor& item);
};

struct ListGet {
  TensorType element;

  static const OpDef def;
  static constexpr std::string_view name = "list_get";
  static constexpr std::string_view doc = "list_get(list, index): one item.";
  static constexpr Arity inputs{2};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "element", &ListGet::element, "what is known of its type besides the list's"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct ListPush {
  static const OpDef def;
  static constexpr std::string_view name = "list_push";
  static constexpr std::string_view doc =
      "list_push(list, item): the list with an item more at its end.";
  static constexpr Arity inputs{2};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
  // What it does, in place. Errors: more items than lists have.
  static Status push(std::vector<Tensor>& items, const Tensor& item);
};

struct ListPop {
  TensorType element;

  static const OpDef def;
  static constexpr std::string_view name = "list_pop";
  static constexpr std::string_view doc =
      "list_pop(list): the list without its last item, and that item.";
  static constexpr Arity inputs{1};
  static constexpr Arity outputs{2};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "element", &ListPop::element, "what is known of its type besides the list's"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct ListInsert {
  static const OpDef def;
  static constexpr std::string_view name = "list_insert";
  static constexpr std::string_view doc =
      "list_insert(list, item [, position]): the list with an item more, at its end by default.";
  static constexpr Arity inputs{2, 3};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct ListErase {
  static const OpDef def;
  static constexpr std::string_view name = "list_erase";
  static constexpr std::string_view doc =
      "list_erase(list [, position]): the list without an item, the last by default.";
  static constexpr Arity inputs{1, 2};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct ListLength {
  DType dtype = DType::i64;

  static const OpDef def;
  static constexpr std::string_view name = "list_length";
  static constexpr std::string_view doc = "list_length(list): the number of items.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "dtype", &ListLength::dtype, "i32 or i64"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct ListStack {
  TensorType element;
  int64_t num = -1;

  static const OpDef def;
  static constexpr std::string_view name = "list_stack";
  static constexpr std::string_view doc =
      "list_stack(list): the items as one tensor with a new first dimension.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "element", &ListStack::element,
                            "what is known of the items' type besides the list's"},
                      Field{2, "num", &ListStack::num, "the number of items, -1: unknown"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct ListUnstack {
  static const OpDef def;
  static constexpr std::string_view name = "list_unstack";
  static constexpr std::string_view doc =
      "list_unstack(x): the slices of x along its first dimension.";
  static constexpr Arity inputs{1};
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct ListConcat {
  int64_t axis = 0;
  bool new_axis = false;
  TensorType element;

  static const OpDef def;
  static constexpr std::string_view name = "list_concat";
  static constexpr std::string_view doc = "list_concat(list): the items joined along a dimension.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "axis", &ListConcat::axis, "the dimension"},
                      Field{2, "new_axis", &ListConcat::new_axis, "the dimension is new"},
                      Field{3, "element", &ListConcat::element,
                            "what is known of the items' type besides the list's"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct ListSplit {
  int64_t axis = 0;
  bool keep_dims = true;

  static const OpDef def;
  static constexpr std::string_view name = "list_split";
  static constexpr std::string_view doc =
      "list_split(x [, sizes]): parts of x along a dimension; sizes is a vector, or a scalar: the "
      "size of each part but the last; parts of 1 by default.";
  static constexpr Arity inputs{1, 2};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "axis", &ListSplit::axis, "the dimension"},
        Field{2, "keep_dims", &ListSplit::keep_dims, "without sizes: parts keep the dimension"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
