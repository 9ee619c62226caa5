// Prints graphs in the text form.
#include <fmt/format.h>

#include <unordered_map>
#include <unordered_set>

#include "ir/text.h"
#include "ir/text_tensor.h"
#include "ops/constant.h"

namespace tenon {
namespace {

using text::double_text;
using text::name_text;
using text::quoted;
using text::type_text;

class Printer {
 public:
  explicit Printer(text::TensorData& large) : large_(large) {}

  void graph(const Graph& g, const NamedGraph* ports, int indent) {
    const std::string margin(static_cast<size_t>(indent), ' ');
    Names names(g);
    out += margin + "graph @" + name_text(g.name);
    if (g.stage != "imported") out += " stage=" + name_text(g.stage);
    if (ports != nullptr && ports->key != g.name) out += " signature=" + quoted(ports->key);
    out += " (";
    for (size_t i = 0; i < g.inputs().size(); ++i) {
      const Value* v = g.inputs()[i].get();
      if (i > 0) out += ", ";
      out += value(v, names);
      if (ports != nullptr && i < ports->input_names.size()) port(ports->input_names[i], v, names);
      out += ": " + type_text(v->type());
      if (ports != nullptr && i >= ports->input_names.size())
        state(*ports, i - ports->input_names.size());
    }
    out += ") {\n";
    for (const auto& n : g.nodes()) node(*n, names, indent + 2);
    out += margin + "  return (";
    for (size_t i = 0; i < g.outputs().size(); ++i) {
      if (i > 0) out += ", ";
      out += value(g.outputs()[i], names);
      if (ports != nullptr && i < ports->output_names.size())
        port(ports->output_names[i], g.outputs()[i], names);
      else if (ports != nullptr)
        out += " state " + quoted(written(*ports, i - ports->output_names.size()));
    }
    out += ")\n" + margin + "}\n";
  }

  void attribute(const AttrValue& attr) {
    std::visit([&](const auto& v) { out += attribute_text(v); }, attr);
  }

  std::string out;

 private:
  // A name for each value: its own where it is unique, a number where it has none.
  struct Names {
    explicit Names(const Graph& g) {
      std::unordered_set<std::string> taken;
      std::unordered_map<std::string, int> repeats;
      int next = 0;
      const auto add = [&](const Value* v) {
        if (v->name.empty()) {
          of[v] = std::to_string(next++);
          numbered.insert(v);
          return;
        }
        std::string unique = v->name;
        while (!taken.insert(unique).second)
          unique = fmt::format("{}.{}", v->name, ++repeats[v->name]);
        of[v] = std::move(unique);
      };
      for (const auto& input : g.inputs()) add(input.get());
      for (const auto& n : g.nodes())
        for (int i = 0; i < n->output_count(); ++i) add(n->output(i));
    }
    std::unordered_map<const Value*, std::string> of;
    std::unordered_set<const Value*> numbered;
  };

  static std::string value(const Value* v, const Names& names) {
    if (v == nullptr) return "_";
    const auto found = names.of.find(v);
    if (found == names.of.end()) return "%\"<not in this graph>\"";
    const std::string& name = found->second;
    // Bare numbers are values without a name.
    if (text::is_digits(name) && !names.numbered.contains(v)) return "%" + quoted(name);
    return "%" + name_text(name);
  }

  void port(const std::string& name, const Value* v, const Names& names) {
    const auto found = names.of.find(v);
    if (found == names.of.end() || found->second != name) out += " " + quoted(name);
  }

  void state(const NamedGraph& ports, size_t i) {
    if (i >= ports.state.size()) return;
    const StateVariable& s = ports.state[i];
    out += " state " + quoted(s.name) + " = " + attribute_text(s.initial);
  }
  // The name of written variable number i.
  static std::string written(const NamedGraph& ports, size_t i) {
    for (const StateVariable& s : ports.state)
      if (s.is_written && i-- == 0) return s.name;
    return {};
  }

  void node(const Node& n, const Names& names, int indent) {
    out += std::string(static_cast<size_t>(indent), ' ');
    for (int i = 0; i < n.output_count(); ++i)
      out += (i > 0 ? ", " : "") + value(n.output(i), names);
    if (n.output_count() > 0) out += " = ";
    out += n.def().name;
    if (const auto* constant = n.as<Constant>()) {
      out += " " + text::literal_text(constant->value, large_);
    } else {
      out += "(";
      for (int i = 0; i < n.input_count(); ++i)
        out += (i > 0 ? ", " : "") + value(n.input(i), names);
      out += ")";
      attributes(n.op());
    }
    if (!n.regions().empty()) {
      out += " with {\n";
      for (const auto& region : n.regions()) graph(*region, nullptr, indent + 2);
      out += std::string(static_cast<size_t>(indent), ' ') + "}";
    }
    for (int i = 0; i < n.output_count(); ++i)
      out += (i > 0 ? ", " : " : ") + type_text(n.output(i)->type());
    for (size_t i = 0; i < n.origins.size(); ++i)
      out += (i > 0 ? ", " : " from ") + quoted(n.origins[i]);
    out += "\n";
  }

  void attributes(const Op& op) {
    bool any = false;
    for (size_t i = 0; i < op.def().fields.size(); ++i) {
      if (op.is_default(i)) continue;
      out += any ? ", " : " {";
      any = true;
      out += op.def().fields[i].name;
      out += "=";
      attribute(op.get(i));
    }
    if (any) out += "}";
  }

  static std::string attribute_text(int64_t v) { return std::to_string(v); }
  static std::string attribute_text(double v) { return double_text(v); }
  static std::string attribute_text(bool v) { return v ? "true" : "false"; }
  static std::string attribute_text(const std::string& v) { return quoted(v); }
  static std::string attribute_text(DType v) { return std::string(dtype_name(v)); }
  static std::string attribute_text(const TensorType& v) { return type_text(v); }
  std::string attribute_text(const Tensor& v) {
    if (!v.defined()) return "none";
    return type_text(v.type()) + " " + text::literal_text(v, large_);
  }
  template <typename T>
  std::string attribute_text(const std::vector<T>& list) {
    std::string joined = "[";
    for (const T& v : list) joined += (joined.size() > 1 ? ", " : "") + attribute_text(v);
    return joined + "]";
  }

  text::TensorData& large_;
};

}  // namespace

std::string print_attribute(const AttrValue& value) {
  text::TensorData large;
  Printer printer(large);
  printer.attribute(value);
  return printer.out;
}

std::string print_graph(const Graph& graph, TextForm form) {
  text::TensorData large;
  Printer printer(large);
  printer.graph(graph, nullptr, 0);
  return form == TextForm::kFull ? printer.out + text::data_text(large) : printer.out;
}

std::string print_graphs(std::span<const NamedGraph> graphs, TextForm form) {
  text::TensorData large;
  Printer printer(large);
  for (const NamedGraph& g : graphs) printer.graph(*g.graph, &g, 0);
  return form == TextForm::kFull ? printer.out + text::data_text(large) : printer.out;
}

}  // namespace tenon
