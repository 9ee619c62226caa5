// Reads the FlatBuffers of a .tenon file into plain data, checking all of it. Internal to format/.
#pragma once

#include <fmt/format.h>

#include <cstring>
#include <map>

#include "format/container.h"
#include "format/model_file.h"
#include "model_generated.h"
#include "ops/registry.h"
#include "tensor/narrow.h"

namespace tenon {

constexpr int kMaxGraphDepth = 64;
constexpr uint32_t kMaxTables = 50'000'000;

inline Error corrupt(std::string what) {
  return invalid_model("the .tenon file is damaged: " + std::move(what) +
                       "; compile the model again");
}

class Decoder {
 public:
  Decoder(const fbs::Model& model, Bytes weights, Bytes packed, std::shared_ptr<const void> owner,
          bool keep_packed = false)
      : model_(model),
        weights_(weights),
        packed_(packed),
        owner_(std::move(owner)),
        keep_packed_(keep_packed) {}

  // The ops that steps are of: to be called first.
  Status read_ops() {
    if (model_.op_names() != nullptr)
      for (const auto* name : *model_.op_names()) {
        const OpDef* def = find_op(name->string_view());
        if (def == nullptr)
          return unsupported(
              fmt::format("the file uses op '{}', which this runtime does not have; "
                          "update the runtime",
                          name->string_view()));
        ops_.push_back(def);
      }
    return {};
  }

  Result<FileModel> decode() {
    FileModel out;
    out.producer = text(model_.producer());
    TRY(read_ops());
    if (model_.functions() != nullptr)
      for (const auto* f : *model_.functions()) {
        if (f->graph() == nullptr) return corrupt("a function without a graph");
        FileFunction function;
        function.key = text(f->key());
        function.graph = TRY(graph(*f->graph(), 0));
        function.input_names = texts(f->input_names());
        function.output_names = texts(f->output_names());
        TRY(state(*f, function));
        out.functions.push_back(std::move(function));
      }
    if (model_.notes() != nullptr)
      for (const auto* n : *model_.notes())
        out.notes.emplace_back(text(n->key()), text(n->value()));
    if (keep_packed_)
      for (const auto& [blob, weight] : unpacked_) out.packed.push_back(weight);
    return out;
  }

  // The forms in the section; of weights that decode() met.
  Result<std::vector<PrepackedWeight>> prepacked(Bytes section) const {
    std::vector<PrepackedWeight> out;
    if (model_.prepacked() == nullptr) return out;
    for (const auto* p : *model_.prepacked()) {
      const auto* row = TRY(blob_row(p->blob()));
      const Bytes form = TRY(part_of(section, p->offset(), p->size()));
      Bytes weight;
      std::shared_ptr<const void> owner = owner_;
      if (!is_packed(*row)) {
        weight = TRY(part_of(weights_, row->offset(), row->size()));
      } else if (const auto found = unpacked_.find(p->blob()); found != unpacked_.end()) {
        weight = {static_cast<const std::byte*>(found->second->dense()),
                  found->second->dense_bytes()};
        owner = found->second;
      } else {
        continue;  // nothing reads it
      }
      const std::vector<int64_t> sizes = {static_cast<int64_t>(weight.size())};
      out.push_back({Tensor::view(DType::u8, sizes, weight.data(), std::move(owner)),
                     text(p->form()),
                     {form, owner_}});
    }
    return out;
  }

  static std::string text(const flatbuffers::String* s) { return s == nullptr ? "" : s->str(); }
  static std::vector<std::string> texts(
      const flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>* v) {
    std::vector<std::string> out;
    if (v != nullptr)
      for (const auto* s : *v) out.push_back(s->str());
    return out;
  }

  // Of eight bytes each, which need not be aligned: the verifier looks at the length's alone.
  template <typename T>
  static std::vector<T> numbers(const flatbuffers::Vector<T>* v) {
    std::vector<T> out(v == nullptr ? 0 : v->size());
    if (!out.empty()) std::memcpy(out.data(), v->Data(), out.size() * sizeof(T));
    return out;
  }

  Result<TensorType> type(const fbs::Type* t) {
    if (t == nullptr) return corrupt("a value without a type");
    if (t->dtype() >= kDTypeEnd) return corrupt("an unknown element type");
    TensorType out;
    out.dtype = static_cast<DType>(t->dtype());
    out.is_list = t->is_list();
    if (!t->ranked()) {
      out.shape = Shape::unranked();
      return out;
    }
    const std::vector<int64_t> dims = numbers(t->dims());
    out.shape.dims().reserve(dims.size());
    for (const int64_t d : dims) {
      if (d >= -1) {
        out.shape.dims().push_back(d < 0 ? Dim::unknown() : Dim(d));
        continue;
      }
      const auto i = static_cast<uint64_t>(-2 - d);
      if (t->symbols() == nullptr || i >= t->symbols()->size())
        return corrupt("a dimension without a name");
      out.shape.dims().push_back(
          Dim::symbol(t->symbols()->Get(static_cast<uint32_t>(i))->string_view()));
    }
    return out;
  }

  Status state(const fbs::Function& f, FileFunction& function) {
    size_t inputs = function.input_names.size(), outputs = function.output_names.size();
    if (f.state() != nullptr)
      for (const auto* s : *f.state()) {
        FileState variable{text(s->name()), {}, s->is_written()};
        variable.initial = TRY(tensor(s->blob(), TRY(type(s->type()))));
        for (const FileState& other : function.state)
          if (other.name == variable.name) return corrupt("a state variable is there twice");
        ++inputs;
        outputs += variable.is_written ? 1 : 0;
        function.state.push_back(std::move(variable));
      }
    const FileGraph& graph = function.graph;
    if (inputs != graph.inputs.size() || outputs != graph.outputs.size())
      return corrupt("a function's names do not match its graph");
    for (size_t i = 0; i < function.state.size(); ++i) {
      const int v = graph.inputs[function.input_names.size() + i];
      if (!is_compatible(graph.values[static_cast<size_t>(v)].type,
                         function.state[i].initial.type()))
        return corrupt(fmt::format("state variable '{}' is of another type than its graph wants",
                                   function.state[i].name));
    }
    return {};
  }

  Result<const fbs::Blob*> blob_row(int blob) const {
    if (model_.blobs() == nullptr || blob < 0 ||
        static_cast<uint32_t>(blob) >= model_.blobs()->size())
      return corrupt("a constant without data");
    return model_.blobs()->Get(static_cast<uint32_t>(blob));
  }

  static bool is_packed(const fbs::Blob& row) {
    return row.layout() != nullptr && row.layout()->size() > 0;
  }
  static Result<Bytes> part_of(Bytes section, uint64_t offset, uint64_t size) {
    if (offset % container::kAlignment != 0 || offset > section.size() ||
        size > section.size() - offset)
      return corrupt("a constant beyond the end of the weights");
    return section.subspan(offset, size);
  }

  // The data of a tensor; that of packed weights is left as it is where `keep_packed`.
  Result<Tensor> tensor(int blob, const TensorType& t, bool keep_packed = false) {
    const auto* row = TRY(blob_row(blob));
    const bool is_packed = this->is_packed(*row);
    const Bytes bytes = TRY(part_of(is_packed ? packed_ : weights_, row->offset(), row->size()));
    if (t.is_list || t.is_none() || !t.shape.is_static())
      return corrupt(fmt::format("a constant of type {}", t.to_string()));
    const std::vector<int64_t> sizes = t.shape.sizes();
    const int64_t n =
        TRY(checked_elements(sizes, t.dtype == DType::string ? 8 : dtype_size(t.dtype)));
    if (is_packed) {
      const auto& weight = *TRY(packed_weight(blob, row->layout()->string_view(), t, bytes));
      if (!keep_packed) weight->make_dense();
      return Tensor::view(t.dtype, sizes, weight->dense(), weight);
    }
    if (t.dtype == DType::string) return strings(bytes, sizes, n);
    if (static_cast<uint64_t>(n) * dtype_size(t.dtype) != bytes.size())
      return corrupt(
          fmt::format("a constant of type {} has {} bytes", t.to_string(), bytes.size()));
    return Tensor::view(t.dtype, sizes, bytes.data(), owner_);
  }

  // One of each blob.
  Result<const std::shared_ptr<PackedWeight>*> packed_weight(int blob, std::string_view name,
                                                             const TensorType& t, Bytes bytes) {
    const auto layout = StoredLayout::parse(name);
    if (!layout)
      return unsupported(fmt::format(
          "the file holds weights in the layout '{}', which this runtime does not know; update the "
          "runtime, or compile the model again",
          name));
    if (t.dtype == DType::string || dtype_size(t.dtype) != layout->element_size() ||
        t.byte_size() != static_cast<int64_t>(layout->dense_bytes()) ||
        bytes.size() != layout->packed_bytes())
      return corrupt(fmt::format("a constant of type {} in the layout '{}' has {} bytes",
                                 t.to_string(), name, bytes.size()));
    auto& weight = unpacked_[blob];
    if (weight == nullptr) weight = TRY(PackedWeight::create(*layout, bytes, owner_));
    return &weight;
  }

  Result<Tensor> strings(Bytes bytes, const std::vector<int64_t>& sizes, int64_t n) {
    if (static_cast<uint64_t>(n) * 8 > bytes.size()) return corrupt("strings cut off");
    Tensor t = TRY(Tensor::allocate(DType::string, sizes));
    for (int64_t i = 0; i < n; ++i) {
      if (bytes.size() < 8) return corrupt("strings cut off");
      const auto length = load_le<uint64_t>(bytes.data());
      if (length > bytes.size() - 8) return corrupt("strings cut off");
      t.mutable_data<std::string>()[i] = std::string(as_text(bytes.subspan(8, length)));
      bytes = bytes.subspan(8 + length);
    }
    return t;
  }

  Result<AttrValue> attr_value(const fbs::Attr& a) {
    switch (a.kind()) {
      case 0:
        return AttrValue(a.i());
      case 1:
        return AttrValue(a.f());
      case 2:
        return AttrValue(a.i() != 0);
      case 3:
        return AttrValue(text(a.s()));
      case 4:
        return AttrValue(numbers(a.ints()));
      case 5:
        return AttrValue(numbers(a.floats()));
      case 6:
        return AttrValue(texts(a.strings()));
      case 7:
        if (a.i() < 0 || a.i() >= kDTypeEnd) return corrupt("an unknown element type");
        return AttrValue(static_cast<DType>(a.i()));
      case 8:
        return AttrValue(TRY(tensor(a.blob(), TRY(type(a.type())))));
      case 9:
        return AttrValue(TRY(type(a.type())));
      default:
        return corrupt("an attribute of unknown kind");
    }
  }

  Result<FileStep> step(const fbs::Step& s, const FileGraph& g, std::vector<bool>& defined,
                        int depth) {
    if (s.op() >= ops_.size()) return corrupt("a step without an op");
    const OpDef& def = *ops_[s.op()];
    FileStep out;
    out.op = def.create();
    out.origins = texts(s.origins());
    if (s.attrs() != nullptr)
      for (const auto* a : *s.attrs()) {
        size_t field = 0;
        while (field < def.fields.size() && def.fields[field].id != a->id()) ++field;
        if (field == def.fields.size())
          return unsupported(fmt::format(
              "op '{}' has an attribute {} that this runtime does not know", def.name, a->id()));
        TRY(out.op->set(field, TRY(attr_value(*a))));
      }
    const auto value_ok = [&](int v) { return v >= 0 && static_cast<size_t>(v) < g.values.size(); };
    if (s.inputs() != nullptr)
      for (const int v : *s.inputs()) {
        if (v != -1 && (!value_ok(v) || !defined[static_cast<size_t>(v)]))
          return corrupt(fmt::format("op '{}' reads a value before it is computed", def.name));
        out.inputs.push_back(v);
      }
    if (!def.inputs.accepts(static_cast<int>(out.inputs.size())))
      return corrupt(fmt::format("op '{}' with {} operands", def.name, out.inputs.size()));
    if (s.regions() != nullptr)
      for (const auto* r : *s.regions()) out.regions.push_back(TRY(graph(*r, depth + 1)));
    if (s.outputs() != nullptr)
      for (const int v : *s.outputs()) {
        if (!value_ok(v) || defined[static_cast<size_t>(v)])
          return corrupt(fmt::format("op '{}' computes a value twice", def.name));
        defined[static_cast<size_t>(v)] = true;
        out.outputs.push_back(v);
      }
    return out;
  }

  // Of the model, or of a section for a chip.
  Result<FileGraph> graph(const fbs::Graph& g, int depth) {
    if (depth > kMaxGraphDepth) return corrupt("graphs nested too deep");
    FileGraph out;
    out.name = text(g.name());
    if (g.values() != nullptr)
      for (const auto* v : *g.values())
        out.values.push_back({TRY(type(v->type())), text(v->name())});
    std::vector<bool> defined(out.values.size());
    const auto define = [&](int v) {
      if (v < 0 || static_cast<size_t>(v) >= defined.size() || defined[static_cast<size_t>(v)])
        return false;
      defined[static_cast<size_t>(v)] = true;
      return true;
    };
    if (g.inputs() != nullptr)
      for (const int v : *g.inputs()) {
        if (!define(v)) return corrupt("a graph input that is no value");
        out.inputs.push_back(v);
      }
    if (g.constants() != nullptr)
      for (const auto* c : *g.constants()) {
        if (!define(c->value())) return corrupt("a constant that is no value");
        const TensorType& t = out.values[static_cast<size_t>(c->value())].type;
        Tensor value = TRY(tensor(c->blob(), t, keep_packed_));
        const auto* row = TRY(blob_row(c->blob()));
        out.constants.push_back({c->value(), std::move(value), text(row->layout())});
      }
    if (g.steps() != nullptr)
      for (const auto* s : *g.steps()) out.steps.push_back(TRY(step(*s, out, defined, depth)));
    if (g.outputs() != nullptr)
      for (const int v : *g.outputs()) {
        if (v < 0 || static_cast<size_t>(v) >= defined.size() || !defined[static_cast<size_t>(v)])
          return corrupt("a graph output that is never computed");
        out.outputs.push_back(v);
      }
    return out;
  }

 private:
  const fbs::Model& model_;
  Bytes weights_, packed_;
  std::shared_ptr<const void> owner_;
  bool keep_packed_;
  std::map<int, std::shared_ptr<PackedWeight>> unpacked_;
  std::vector<const OpDef*> ops_;
};

}  // namespace tenon
