#include "import/tensorflow/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "ir/interpret.h"

namespace tenon::tf {
namespace {

constexpr int64_t kWholeLine = -2, kLineNumber = -1;
// Initialisers are at most a few calls deep.
constexpr int kMaxCallDepth = 16;

bool fills_table(std::string_view op) {
  constexpr std::string_view kOps[] = {"InitializeTable",
                                       "InitializeTableV2",
                                       "InitializeTableFromTextFile",
                                       "InitializeTableFromTextFileV2",
                                       "LookupTableImport",
                                       "LookupTableImportV2"};
  return std::ranges::find(kOps, op) != std::end(kOps);
}

// One column of a text table as a tensor.
class Column {
 public:
  Column(DType dtype, int64_t index) : dtype_(dtype), index_(index) {}

  Status add(std::string_view line, std::string_view delimiter, int64_t number) {
    if (index_ == kLineNumber) {
      is_float(dtype_) ? reals_.push_back(static_cast<double>(number)) : ints_.push_back(number);
      return {};
    }
    std::string_view field = line;
    for (int64_t i = 0; index_ >= 0; ++i) {
      const size_t end = delimiter.empty() ? std::string_view::npos : line.find(delimiter);
      field = line.substr(0, end);
      if (i == index_) break;
      if (end == std::string_view::npos)
        return invalid_model(fmt::format("line {} has no column {}", number + 1, index_));
      line.remove_prefix(end + delimiter.size());
    }
    if (dtype_ == DType::string) {
      texts_.emplace_back(field);
      return {};
    }
    double value = 0;
    int64_t whole = 0;
    const char* end = field.data() + field.size();
    const auto parsed = is_int(dtype_) ? std::from_chars(field.data(), end, whole)
                                       : std::from_chars(field.data(), end, value);
    if (parsed.ec != std::errc())
      return invalid_model(fmt::format("line {} has '{}' for a number", number + 1, field));
    is_int(dtype_) ? ints_.push_back(whole) : reals_.push_back(value);
    return {};
  }

  Result<Tensor> tensor() const {
    const auto n = static_cast<int64_t>(std::max({texts_.size(), ints_.size(), reals_.size()}));
    Tensor t = TRY(Tensor::allocate(dtype_, std::span(&n, 1)));
    for (int64_t i = 0; i < n; ++i) {
      const auto k = static_cast<size_t>(i);
      if (dtype_ == DType::string)
        t.mutable_data<std::string>()[i] = ints_.empty() ? texts_[k] : std::to_string(ints_[k]);
      else if (dtype_ == DType::i64)
        t.mutable_data<int64_t>()[i] = ints_[k];
      else if (dtype_ == DType::i32)
        t.mutable_data<int32_t>()[i] = static_cast<int32_t>(ints_[k]);
      else if (dtype_ == DType::f32)
        t.mutable_data<float>()[i] = static_cast<float>(reals_[k]);
      else if (dtype_ == DType::f64)
        t.mutable_data<double>()[i] = reals_[k];
      else
        return unsupported(fmt::format("a table file of {}", dtype_name(dtype_)));
    }
    return t;
  }

 private:
  DType dtype_;
  int64_t index_;
  std::vector<std::string> texts_;
  std::vector<int64_t> ints_;
  std::vector<double> reals_;
};

Result<TableContents> read_text_table(const LoadedModel& model, const NodeDef& init,
                                      const NodeDef& table, const std::string& path) {
  const std::string name = std::filesystem::path(path).filename().string();
  const auto file = TRY(MappedFile::open(TRY(model.asset_path(name))));
  const DType key_type = TRY(to_dtype(TRY(table.attrs.get_type("key_dtype"))));
  const DType value_type = TRY(to_dtype(TRY(table.attrs.get_type("value_dtype"))));
  Column keys(key_type, TRY(init.attrs.get_int("key_index")));
  Column values(value_type, TRY(init.attrs.get_int("value_index")));
  const std::string_view delimiter = TRY(init.attrs.get_string("delimiter", "\t"));
  const int64_t offset = TRY(init.attrs.get_int("offset", 0));
  const int64_t limit = TRY(init.attrs.get_int("vocab_size", -1));
  std::string_view text = as_text(file->bytes());
  for (int64_t number = 0; !text.empty() && (limit < 0 || number < limit); ++number) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    TRY(keys.add(line, delimiter, number));
    TRY(values.add(line, delimiter, number + offset));
  }
  return TableContents{TRY(keys.tensor()), TRY(values.tensor())};
}

class TableLoader {
 public:
  TableLoader(LoadedModel& model, const NodeGraph& main, const FunctionLibrary& library,
              const VariableSources& variables)
      : model_(model),
        main_(main),
        library_(library),
        importer_(model, main, library, report_, variables, no_state_),
        region_(graph_) {}

  void scan(const NodeGraph& nodes, const Operands& arguments, int depth) {
    if (depth > kMaxCallDepth) return;
    for (const Item& item : nodes.items()) {
      if (fills_table(item.op())) {
        load(nodes, arguments, item);
        continue;
      }
      const FunctionDef* function = initialiser(item);
      if (function == nullptr || item.inputs.size() != function->inputs.size()) continue;
      Operands inner;
      for (const Ref ref : item.inputs) inner.push_back(operand(nodes, arguments, ref));
      scan(library_.body(*function), inner, depth + 1);
    }
  }

  LoadedTables tables;

 private:
  // The function an item calls, when it fills tables.
  const FunctionDef* initialiser(const Item& item) {
    if (item.op() != "StatefulPartitionedCall" && item.op() != "PartitionedCall") return nullptr;
    const auto f = item.node->attrs.get("f");
    const FunctionDef* function = f.ok() ? library_.find(f->function.name) : nullptr;
    return function != nullptr && fills(*function, 0) ? function : nullptr;
  }

  bool fills(const FunctionDef& function, int depth) {
    if (const auto it = fills_.find(&function); it != fills_.end()) return it->second;
    fills_[&function] = false;  // stands for a function that calls itself
    bool found = false;
    for (const NodeDef& node : function.nodes) {
      found |= fills_table(node.op);
      const auto f = node.attrs.get("f");
      const FunctionDef* callee = f.ok() ? library_.find(f->function.name) : nullptr;
      if (callee != nullptr && depth < kMaxCallDepth) found |= fills(*callee, depth + 1);
    }
    return fills_[&function] = found;
  }

  Operand operand(const NodeGraph& nodes, const Operands& arguments, Ref ref) {
    if (!ref.defined()) return Operand::failure();
    Frame frame(nodes, region_, "");
    for (size_t i = 0; i < arguments.size(); ++i)
      frame.results[static_cast<int>(i)] = {arguments[i]};
    importer_.bind_assets(frame);
    auto operands = importer_.evaluate(frame, std::span(&ref, 1));
    return operands.ok() ? (*operands)[0] : Operand::failure();
  }

  Result<Tensor> constant(const Operand& operand) {
    if (operand.kind != Operand::Kind::value) return not_found("no value");
    if (const Tensor* known = operand.value->constant()) return *known;
    graph_.set_outputs({operand.value});
    auto tensors = TRY(interpret(graph_, {}));
    return std::move(tensors[0]);
  }

  void load(const NodeGraph& nodes, const Operands& arguments, const Item& init) {
    Operands inputs;
    for (const Ref ref : init.inputs) inputs.push_back(operand(nodes, arguments, ref));
    if (inputs.size() < 2 || inputs[0].kind != Operand::Kind::resource) return;
    const std::string& table = inputs[0].resource->name;
    if (auto status = fill(init, *inputs[0].resource, inputs); !status.ok())
      tables.errors.emplace(table, std::move(status).error());
  }

  Status fill(const Item& init, const Resource& table, const Operands& inputs) {
    if (init.op().starts_with("InitializeTableFromTextFile")) {
      const Tensor path = TRY(constant(inputs[1]));
      if (path.dtype() != DType::string || path.elements() != 1)
        return invalid_model("a file name must be one string");
      tables.contents.insert_or_assign(
          table.name,
          TRY(read_text_table(model_, *init.node, *table.node, path.data<std::string>()[0])));
      return {};
    }
    if (inputs.size() < 3) return invalid_model("an initialiser without values");
    TableContents pair{TRY(constant(inputs[1])), TRY(constant(inputs[2]))};
    std::vector<int64_t> dims = TRY(value_dims(*table.node));
    dims.insert(dims.begin(), pair.keys.elements());
    if (TRY(checked_elements(dims, 1)) != pair.values.elements())
      return unsupported("a table whose values do not fit its keys");
    pair.keys = pair.keys.reshaped({pair.keys.elements()});
    pair.values = pair.values.reshaped(dims);
    if (table.node->op.starts_with("MutableDenseHashTable")) TRY(drop_unused(table, pair));
    tables.contents.insert_or_assign(table.name, std::move(pair));
    return {};
  }

  // A dense table is saved with its empty places, which hold a key of their own.
  Status drop_unused(const Resource& table, TableContents& pair) {
    const int item = main_.find(table.node->name);
    if (item < 0) return not_found("the table is not in the main graph");
    std::vector<Tensor> unused;
    for (size_t i = 0; i < 2 && i < main_.item(item).inputs.size(); ++i)
      unused.push_back(TRY(constant(operand(main_, {}, main_.item(item).inputs[i]))));
    Graph graph;
    Value* keys = graph.add_input(pair.keys.type());
    Value* values = graph.add_input(pair.values.type());
    Builder b(graph);
    Value* used = nullptr;
    for (const Tensor& key : unused) {
      if (key.elements() != 1) return unsupported("a table whose keys are no scalars");
      Value* other = TRY(b.op("equal", {keys, b.constant(key)}));
      other = TRY(b.op("logical_not", {other}));
      used = used == nullptr ? other : TRY(b.op("logical_and", {used, other}));
    }
    if (used == nullptr) return {};
    Value* places = TRY(b.op("reshape", {TRY(b.op("non_zero", {used})), b.ints({-1})}));
    graph.set_outputs({TRY(b.op("gather", {keys, places})), TRY(b.op("gather", {values, places}))});
    const std::vector<Tensor> all{pair.keys, pair.values};
    auto kept = TRY(interpret(graph, all));
    pair = {std::move(kept[0]), std::move(kept[1])};
    return {};
  }

  LoadedModel& model_;
  const NodeGraph& main_;
  const FunctionLibrary& library_;
  ImportReport report_;  // of no interest: initialisers are not part of what is compiled
  VariableSet no_state_;
  GraphImporter importer_;
  Graph graph_;
  Region region_;
  std::map<const FunctionDef*, bool> fills_;
};

}  // namespace

LoadedTables load_tables(LoadedModel& model, const NodeGraph& main, const FunctionLibrary& library,
                         const VariableSources& variables) {
  TableLoader loader(model, main, library, variables);
  loader.scan(main, {}, 0);
  return std::move(loader.tables);
}

Result<std::vector<int64_t>> value_dims(const NodeDef& table) {
  if (!table.attrs.has("value_shape")) return std::vector<int64_t>();
  ShapeProto shape = TRY(table.attrs.get_shape("value_shape"));
  if (shape.unknown_rank || std::ranges::any_of(shape.dims, [](int64_t d) { return d < 0; }))
    return unsupported("a table whose values are of no known shape");
  return std::move(shape.dims);
}

}  // namespace tenon::tf
