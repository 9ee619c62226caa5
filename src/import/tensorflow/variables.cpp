#include "import/tensorflow/variables.h"

#include <fmt/format.h>

#include <charconv>
#include <unordered_map>

#include "import/tensorflow/rule.h"
#include "ops/slice.h"

namespace tenon::tf {
namespace {

// The strings of a Const, seen through Identity nodes.
Result<TensorValue> strings_of(const NodeGraph& nodes, Ref ref, const LoadedModel& model) {
  ref = nodes.through_identities(ref);
  if (!ref.defined() || nodes.item(ref.item).op() != "Const")
    return invalid_model("not a constant");
  return tensor_value(TRY(nodes.item(ref.item).node->attrs.get_tensor("value")), model.owner);
}

std::string string_at(const TensorValue& value, size_t i) {
  if (value.splat) i = 0;
  return i < value.strings.size() ? value.strings[i] : std::string();
}

struct Restore {
  int target;  // the item that is assigned: a variable or an argument
  VariableSource source;
};

// Each assignment from a RestoreV2.
std::vector<Restore> restores_in(const NodeGraph& nodes, const LoadedModel& model) {
  std::vector<Restore> restores;
  // One restore operation often fills all variables: its names are decoded once.
  std::unordered_map<int, std::pair<TensorValue, TensorValue>> decoded;
  for (const Item& item : nodes.items()) {
    if ((item.op() != "AssignVariableOp" && item.op() != "Assign") || item.inputs.size() < 2)
      continue;
    const Ref target = nodes.through_identities(item.inputs[0]);
    const Ref source = nodes.through_identities(item.inputs[1]);
    if (!target.defined() || !source.defined()) continue;
    const Item& restore = nodes.item(source.item);
    if (restore.op() != "RestoreV2" || restore.inputs.size() < 3) continue;
    auto it = decoded.find(source.item);
    if (it == decoded.end()) {
      auto names = strings_of(nodes, restore.inputs[1], model);
      auto slices = strings_of(nodes, restore.inputs[2], model);
      if (!names.ok()) continue;
      it = decoded
               .emplace(source.item,
                        std::pair(std::move(*names), slices.ok() ? *slices : TensorValue()))
               .first;
    }
    const auto output = static_cast<size_t>(source.output);
    std::string key = string_at(it->second.first, output);
    if (!key.empty())
      restores.push_back({target.item, {std::move(key), string_at(it->second.second, output)}});
  }
  return restores;
}

// Some exports save a copy of a variable instead of the variable itself: one whose initial value
// reads it. The original has the value of the copy.
void add_originals(const NodeGraph& main, VariableSources& sources) {
  for (const Item& item : main.items()) {
    if (item.op() != "AssignVariableOp" || item.inputs.size() < 2) continue;
    const Ref copy = main.through_identities(item.inputs[0]);
    const Ref read = main.through_identities(item.inputs[1]);
    if (!copy.defined() || !read.defined() || main.item(read.item).op() != "ReadVariableOp")
      continue;
    const auto& inputs = main.item(read.item).inputs;
    const Ref original = inputs.empty() ? Ref() : main.through_identities(inputs[0]);
    const auto source = sources.find(std::string(main.item(copy.item).name));
    if (original.defined() && source != sources.end())
      sources.emplace(std::string(main.item(original.item).name), VariableSource(source->second));
  }
}

// "10 4 0,4:0,4" as begin and end of each dimension.
Status parse_slice(std::string_view text, std::vector<int64_t>& begin, std::vector<int64_t>& end) {
  const auto number = [](std::string_view digits) -> Result<int64_t> {
    int64_t n = 0;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), n);
    if (parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size() || n < 0)
      return invalid_model(fmt::format("'{}' is no size", digits));
    return n;
  };
  std::vector<int64_t> sizes;
  for (size_t space = text.find(' '); space != std::string_view::npos; space = text.find(' ')) {
    sizes.push_back(TRY(number(text.substr(0, space))));
    text.remove_prefix(space + 1);
  }
  for (const int64_t size : sizes) {
    const std::string_view extent = text.substr(0, text.find(':'));
    text.remove_prefix(std::min(text.size(), extent.size() + 1));
    begin.push_back(0);
    end.push_back(size);
    if (extent == "-") continue;
    const size_t comma = extent.find(',');
    if (comma == std::string_view::npos) return invalid_model("a slice lacks its length");
    begin.back() = TRY(number(extent.substr(0, comma)));
    end.back() = begin.back() + TRY(number(extent.substr(comma + 1)));
    if (end.back() > size) return invalid_model("a slice lies outside of its tensor");
  }
  return {};
}

}  // namespace

VariableSources find_variable_sources(const LoadedModel& model, const NodeGraph& main,
                                      const FunctionLibrary& library) {
  VariableSources sources;
  for (Restore& r : restores_in(main, model))
    sources.emplace(std::string(main.item(r.target).name), std::move(r.source));
  for (const Item& item : main.items()) {
    if (item.op() != "StatefulPartitionedCall" && item.op() != "PartitionedCall") continue;
    const auto attr = item.node->attrs.get("f");
    const FunctionDef* function = attr.ok() ? library.find(attr->function.name) : nullptr;
    if (function == nullptr) continue;
    const NodeGraph& body = library.body(*function);
    for (Restore& r : restores_in(body, model)) {
      const auto argument = static_cast<size_t>(r.target);
      if (r.target >= body.arguments() || argument >= item.inputs.size()) continue;
      const Ref variable = main.through_identities(item.inputs[argument]);
      if (variable.defined())
        sources.emplace(std::string(main.item(variable.item).name), std::move(r.source));
    }
  }
  add_originals(main, sources);
  return sources;
}

Result<Tensor> read_checkpoint(LoadedModel& model, const VariableSource& source,
                               const std::string& variable) {
  if (!model.variables)
    return not_found(fmt::format(
        "variable '{}' has no value: {}", variable,
        model.saved_model ? "the model has no variables folder"
                          : "a graph holds none, and no checkpoint lies beside it; write a "
                            "SavedModel, or freeze the graph with "
                            "tf.compat.v1.graph_util.convert_variables_to_constants(…)"));
  Tensor whole = TRY(to_tensor(TRY(model.variables->read(source.key)), variable));
  if (source.slice.empty()) return whole;
  std::vector<int64_t> begin, end;
  TRY(parse_slice(source.slice, begin, end));
  const std::vector<Tensor> operands{std::move(whole), Tensor::vector(begin), Tensor::vector(end)};
  auto part = TRY(evaluate(*make_op(Slice{}), operands));
  return std::move(part[0]);
}

}  // namespace tenon::tf
