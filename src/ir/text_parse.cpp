// Parses the text form of graphs.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "ir/text.h"
#include "ir/text_tensor.h"
#include "ops/constant.h"
#include "ops/custom_library.h"
#include "ops/registry.h"

namespace tenon {
namespace {

using text::Lexer;
using text::LiteralParser;

constexpr int kMaxDepth = 32;  // of graphs in graphs

class GraphParser {
 public:
  GraphParser(std::string_view text, std::string_view file, const CustomLibraries* libraries)
      : lexer_(text, file), literals_(text), libraries_(libraries) {}

  Result<std::vector<NamedGraph>> file() {
    std::vector<NamedGraph> graphs;
    while (!lexer_.at_end()) {
      if (lexer_.take_word("data"))
        TRY(LiteralParser::skip_data(lexer_));
      else
        graphs.push_back(TRY(graph(0)));
    }
    if (graphs.empty()) return lexer_.fail("the text holds no graph");
    return graphs;
  }

 private:
  using Scope = std::unordered_map<std::string, Value*>;

  // `%name` to be defined; a bare number stands for no name.
  struct Definition {
    std::string key;
    std::string name;
  };
  Result<Definition> definition() {
    TRY(lexer_.expect('%'));
    bool plain = false;
    Definition d;
    d.name = TRY(lexer_.name(&plain));
    d.key = key_of(d.name, plain);
    if (plain && text::is_digits(d.name)) d.name.clear();
    return d;
  }
  // Quoted digits are a name, bare ones a number: they must not meet.
  static std::string key_of(const std::string& name, bool plain) {
    return plain && text::is_digits(name) ? "#" + name : "%" + name;
  }

  Status define(Scope& scope, const Definition& d, Value* value) {
    if (!scope.emplace(d.key, value).second)
      return lexer_.fail(fmt::format("%{} is defined twice", d.key.substr(1)));
    return {};
  }

  Result<Value*> operand(const Scope& scope) {
    if (lexer_.take('_')) return static_cast<Value*>(nullptr);
    const size_t begin = lexer_.position();
    TRY(lexer_.expect('%'));
    bool plain = false;
    const std::string name = TRY(lexer_.name(&plain));
    const auto found = scope.find(key_of(name, plain));
    if (found == scope.end())
      return lexer_.fail_at(begin, fmt::format("%{} is not defined here", name));
    return found->second;
  }

  // The name of an input or output for callers, where it is not that of its value.
  Result<std::string> port(std::string own) {
    if (lexer_.peek() == '"') return lexer_.string();
    return own;
  }

  Result<NamedGraph> graph(int depth) {
    if (depth > kMaxDepth) return lexer_.fail("graphs are nested too deeply");
    if (!lexer_.take_word("graph")) return lexer_.expected("a graph");
    TRY(lexer_.expect('@'));
    NamedGraph result;
    result.key = TRY(lexer_.name());
    result.graph = std::make_unique<Graph>(result.key);
    while (lexer_.peek() != '(') {
      if (lexer_.take_word("stage")) {
        TRY(lexer_.expect('='));
        result.graph->stage = TRY(lexer_.name());
      } else if (lexer_.take_word("signature")) {
        TRY(lexer_.expect('='));
        result.key = TRY(lexer_.string());
      } else {
        return lexer_.expected("stage=…, signature=… or the inputs in ( )");
      }
    }
    Scope scope;
    TRY(inputs(result, scope));
    TRY(lexer_.expect('{'));
    while (!lexer_.take_word("return")) TRY(node(*result.graph, scope, depth));
    TRY(outputs(result, scope));
    TRY(lexer_.expect('}'));
    return result;
  }

  Status inputs(NamedGraph& result, Scope& scope) {
    TRY(lexer_.expect('('));
    while (!lexer_.take(')')) {
      if (!result.graph->inputs().empty()) TRY(lexer_.expect(','));
      const Definition d = TRY(definition());
      const std::string name = TRY(port(d.key.substr(1)));
      TRY(lexer_.expect(':'));
      const TensorType type = TRY(lexer_.type());
      TRY(define(scope, d, result.graph->add_input(type, d.name)));
      lexer_.skip();
      const size_t begin = lexer_.position();
      if (lexer_.take_word("state"))
        TRY(state(result, type, begin));
      else if (!result.state.empty())
        return lexer_.fail_at(begin, "inputs must come before state");
      else
        result.input_names.push_back(name);
    }
    return {};
  }

  // "name" = type initial value.
  Status state(NamedGraph& result, const TensorType& type, size_t begin) {
    StateVariable s{TRY(lexer_.string()), {}, false};
    TRY(lexer_.expect('='));
    TRY(attribute(s.initial));
    for (const StateVariable& other : result.state)
      if (other.name == s.name) return lexer_.fail_at(begin, "the variable is there twice");
    if (!s.initial.defined() || !is_compatible(type, s.initial.type()))
      return lexer_.fail_at(
          begin, fmt::format("the initial value is {}, not {}", text::type_text(s.initial.type()),
                             text::type_text(type)));
    result.state.push_back(std::move(s));
    return {};
  }

  Status outputs(NamedGraph& result, const Scope& scope) {
    std::vector<Value*> values;
    ptrdiff_t next_state = 0;  // written variables come in the order of their inputs
    TRY(lexer_.expect('('));
    while (!lexer_.take(')')) {
      if (!values.empty()) TRY(lexer_.expect(','));
      const size_t begin = lexer_.position();
      Value* value = TRY(operand(scope));
      if (value == nullptr) return lexer_.fail_at(begin, "an output must be a value");
      values.push_back(value);
      if (lexer_.take_word("state")) {
        const std::string name = TRY(lexer_.string());
        const auto found =
            std::ranges::find_if(result.state.begin() + next_state, result.state.end(),
                                 [&](const StateVariable& s) { return s.name == name; });
        if (found == result.state.end())
          return lexer_.fail_at(begin, fmt::format("no input is state \"{}\", or the order is "
                                                   "another",
                                                   name));
        found->is_written = true;
        next_state = found - result.state.begin() + 1;
        continue;
      }
      if (next_state > 0) return lexer_.fail_at(begin, "outputs must come before state");
      std::string own = value->name;
      if (own.empty())
        for (const auto& [key, v] : scope)
          if (v == value) own = key.substr(1);
      result.output_names.push_back(TRY(port(std::move(own))));
    }
    result.graph->set_outputs(std::move(values));
    return {};
  }

  Status node(Graph& graph, Scope& scope, int depth) {
    std::vector<Definition> results;
    while (lexer_.peek() == '%') {
      results.push_back(TRY(definition()));
      if (!lexer_.take(',')) break;
    }
    if (!results.empty()) TRY(lexer_.expect('='));
    lexer_.skip();
    const size_t begin = lexer_.position();
    const std::string_view name = lexer_.word();
    if (name.empty()) return lexer_.expected("an op");
    auto op = create_op(name);
    if (op == nullptr) return lexer_.fail_at(begin, fmt::format("there is no op '{}'", name));
    std::vector<Value*> operands;
    std::vector<std::unique_ptr<Graph>> regions;
    std::vector<TensorType> types;
    if (name == "const") {
      TRY(constant(*op, types));
    } else {
      TRY(lexer_.expect('('));
      while (!lexer_.take(')')) {
        if (!operands.empty()) TRY(lexer_.expect(','));
        operands.push_back(TRY(operand(scope)));
      }
      if (lexer_.take('{')) TRY(attributes(*op));
      if (auto* custom = op->as<Custom>(); custom != nullptr)
        if (Status s =
                tenon::bind(*custom, libraries_ == nullptr ? CustomLibraries() : *libraries_);
            !s.ok())
          return lexer_.fail_at(begin, s.error().message);
      if (lexer_.take_word("with")) {
        TRY(lexer_.expect('{'));
        while (!lexer_.take('}')) regions.push_back(std::move(TRY(this->graph(depth + 1)).graph));
      }
      TRY(result_types(types));
    }
    if (op->def().regions != kVariadic && op->def().regions != static_cast<int>(regions.size()))
      return lexer_.fail_at(begin, fmt::format("op '{}' takes {} sub-graphs, not {}", name,
                                               op->def().regions, regions.size()));
    const std::vector<std::string> origins = TRY(this->origins());
    auto added = graph.add(std::move(op), std::move(operands), std::move(regions));
    if (!added.ok()) return lexer_.fail_at(begin, added.error().message);
    (*added)->origins = origins;
    return bind(**added, results, types, scope, begin);
  }

  // Names the node's results and records the types as written.
  Status bind(Node& node, const std::vector<Definition>& results,
              const std::vector<TensorType>& types, Scope& scope, size_t begin) {
    const auto count = static_cast<size_t>(node.output_count());
    if (results.size() != count)
      return lexer_.fail_at(begin, fmt::format("op '{}' has {} results here, {} are named",
                                               node.def().name, count, results.size()));
    if (!types.empty() && types.size() != count)
      return lexer_.fail_at(
          begin, fmt::format("{} results, but {} types are written", count, types.size()));
    for (size_t i = 0; i < count; ++i) {
      Value* value = node.output(static_cast<int>(i));
      if (!types.empty()) {
        if (!is_compatible(types[i], value->type()))
          return lexer_.fail_at(
              begin, fmt::format("the result is {}, not {} as written",
                                 text::type_text(value->type()), text::type_text(types[i])));
        value->set_type(types[i]);
      }
      value->name = results[i].name;
      TRY(define(scope, results[i], value));
    }
    return {};
  }

  // const LITERAL : TYPE; the literal is read once its type is known.
  Status constant(Op& op, std::vector<TensorType>& types) {
    lexer_.skip();
    const size_t begin = lexer_.position();
    TRY(LiteralParser::skip(lexer_));
    TRY(lexer_.expect(':'));
    types.push_back(TRY(lexer_.type()));
    const size_t end = lexer_.position();
    lexer_.seek(begin);
    op.as<Constant>()->value = TRY(literals_.parse(lexer_, types[0]));
    lexer_.seek(end);
    return {};
  }

  Status result_types(std::vector<TensorType>& types) {
    if (!lexer_.take(':')) return {};
    do {
      types.push_back(TRY(lexer_.type()));
    } while (lexer_.take(','));
    return {};
  }

  Result<std::vector<std::string>> origins() {
    std::vector<std::string> names;
    if (!lexer_.take_word("from")) return names;
    do {
      names.push_back(TRY(lexer_.string()));
    } while (lexer_.take(','));
    return names;
  }

  // The rest of {name=value, …}.
  Status attributes(Op& op) {
    bool first = true;
    while (!lexer_.take('}')) {
      if (!first) TRY(lexer_.expect(','));
      first = false;
      lexer_.skip();
      const size_t begin = lexer_.position();
      const std::string_view name = lexer_.word();
      const auto fields = op.def().fields;
      size_t index = 0;
      while (index < fields.size() && fields[index].name != name) ++index;
      if (index == fields.size()) {
        std::string known;
        for (const FieldInfo& field : fields) known += " " + std::string(field.name);
        return lexer_.fail_at(begin, fmt::format("op '{}' has no attribute '{}'; it has:{}",
                                                 op.def().name, name, known));
      }
      TRY(lexer_.expect('='));
      AttrValue value = op.get(index);
      TRY(std::visit([&](auto& v) { return attribute(v); }, value));
      if (Status s = op.set(index, std::move(value)); !s.ok())
        return lexer_.fail_at(begin, s.error().message);
    }
    return {};
  }

  Status attribute(int64_t& value) {
    value = TRY(lexer_.integer());
    return {};
  }
  Status attribute(double& value) {
    value = TRY(lexer_.real());
    return {};
  }
  Status attribute(bool& value) {
    value = lexer_.take_word("true");
    if (!value && !lexer_.take_word("false")) return lexer_.expected("true or false");
    return {};
  }
  Status attribute(std::string& value) {
    lexer_.skip();
    value = TRY(lexer_.name());
    return {};
  }
  Status attribute(DType& value) {
    lexer_.skip();
    const size_t begin = lexer_.position();
    const auto dtype = parse_dtype(lexer_.word());
    if (!dtype) return lexer_.fail_at(begin, "expected an element type such as f32");
    value = *dtype;
    return {};
  }
  Status attribute(TensorType& value) {
    value = TRY(lexer_.type());
    return {};
  }
  Status attribute(Tensor& value) {
    const TensorType type = TRY(lexer_.type());
    value = type.is_none() ? Tensor() : TRY(literals_.parse(lexer_, type));
    return {};
  }
  template <typename T>
  Status attribute(std::vector<T>& values) {
    values.clear();
    TRY(lexer_.expect('['));
    while (!lexer_.take(']')) {
      if (!values.empty()) TRY(lexer_.expect(','));
      TRY(attribute(values.emplace_back()));
    }
    return {};
  }

  Lexer lexer_;
  LiteralParser literals_;
  const CustomLibraries* libraries_;
};

}  // namespace

Result<std::vector<NamedGraph>> parse_graphs(std::string_view text, std::string_view file,
                                             const CustomLibraries* libraries) {
  return GraphParser(text, file, libraries).file();
}

Result<std::unique_ptr<Graph>> parse_graph(std::string_view text, std::string_view file) {
  std::vector<NamedGraph> graphs = TRY(parse_graphs(text, file));
  if (graphs.size() != 1)
    return invalid_model(fmt::format("expected one graph, the text holds {}", graphs.size()));
  return std::move(graphs[0].graph);
}

}  // namespace tenon
