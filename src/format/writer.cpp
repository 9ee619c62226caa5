#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "base/hash.h"
#include "format/blob_table.h"
#include "format/container.h"
#include "format/model_file.h"
#include "model_generated.h"

namespace tenon {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;

class Encoder {
 public:
  void model(const FileModel& model) {
    std::vector<Offset<fbs::Function>> functions;
    for (const FileFunction& f : model.functions) {
      std::vector<Offset<fbs::State>> state;
      for (const FileState& s : f.state)
        state.push_back(fbs::CreateState(builder, builder.CreateString(s.name),
                                         type(s.initial.type()), blobs.add(s.initial),
                                         s.is_written));
      functions.push_back(fbs::CreateFunction(builder, builder.CreateString(f.key),
                                              builder.CreateString("cpu"), graph(f.graph),
                                              strings(f.input_names), strings(f.output_names),
                                              state.empty() ? 0 : builder.CreateVector(state)));
    }
    std::vector<Offset<fbs::Blob>> blob_rows;
    for (const PrepackedWeight& weight : model.prepacked) blobs.add_form(weight);
    blobs.place();
    for (const BlobTable::Blob& blob : blobs.blobs())
      blob_rows.push_back(
          fbs::CreateBlob(builder, blob.offset, blob.bytes.size(),
                          blob.layout.empty() ? 0 : builder.CreateSharedString(blob.layout)));
    std::vector<Offset<fbs::Note>> notes;
    for (const auto& [key, value] : model.notes)
      notes.push_back(
          fbs::CreateNote(builder, builder.CreateString(key), builder.CreateString(value)));
    std::vector<Offset<fbs::Prepacked>> forms;
    forms.reserve(blobs.forms().size());
    for (const BlobTable::Form& form : blobs.forms())
      forms.push_back(fbs::CreatePrepacked(builder, form.blob, builder.CreateString(form.name),
                                           form.offset, form.bytes.size()));
    const auto functions_v = builder.CreateVector(functions);
    const auto blobs_v = builder.CreateVector(blob_rows);
    const auto notes_v = builder.CreateVector(notes);
    const auto names_v = builder.CreateVectorOfStrings(op_names_);
    const auto producer = builder.CreateString(model.producer);
    builder.Finish(
        fbs::CreateModel(builder, producer, names_v, functions_v, blobs_v, notes_v, vector(forms)));
  }

  // A section of its own; it names ops and blobs of the model, so it comes first.
  std::string section(const FileDeviceSection& section) {
    std::vector<Offset<fbs::DeviceProgram>> programs;
    for (const FileDeviceProgram& p : section.programs) programs.push_back(program(p));
    builder.Finish(
        fbs::CreateDeviceSection(builder, section.machine, builder.CreateVector(programs)));
    std::string bytes(reinterpret_cast<const char*>(builder.GetBufferPointer()), builder.GetSize());
    builder.Clear();
    types_.clear();
    return bytes;
  }

  FlatBufferBuilder builder;
  BlobTable blobs;

 private:
  // Names and types are there once, however many refer to them, and what is empty not at all.
  Offset<flatbuffers::Vector<Offset<flatbuffers::String>>> strings(
      const std::vector<std::string>& all) {
    if (all.empty()) return 0;
    std::vector<Offset<flatbuffers::String>> offsets;
    offsets.reserve(all.size());
    for (const std::string& s : all) offsets.push_back(builder.CreateSharedString(s));
    return builder.CreateVector(offsets);
  }
  template <typename T>
  Offset<flatbuffers::Vector<T>> vector(const std::vector<T>& all) {
    return all.empty() ? 0 : builder.CreateVector(all);
  }

  Offset<fbs::Type> type(const TensorType& t) {
    std::string key =
        fmt::format("{} {} {}", static_cast<int>(t.dtype), t.is_list, t.shape.ranked());
    for (const Dim d : t.shape.dims()) (key += '\0') += d.to_string();
    Offset<fbs::Type>& known = types_[key];
    if (!known.IsNull()) return known;
    std::vector<int64_t> dims;
    std::vector<std::string> symbols;
    for (const Dim d : t.shape.dims()) {
      if (d.is_symbol()) {
        dims.push_back(-2 - static_cast<int64_t>(symbols.size()));
        symbols.emplace_back(d.name());
      } else {
        dims.push_back(d.size_or(-1));
      }
    }
    known = fbs::CreateType(builder, static_cast<uint8_t>(t.dtype), t.is_list, t.shape.ranked(),
                            vector(dims), strings(symbols));
    return known;
  }

  Offset<fbs::Attr> attr(int id, const AttrValue& value) {
    Offset<flatbuffers::String> s;
    Offset<flatbuffers::Vector<int64_t>> ints;
    Offset<flatbuffers::Vector<double>> floats;
    Offset<flatbuffers::Vector<Offset<flatbuffers::String>>> texts;
    Offset<fbs::Type> ty;
    int64_t i = 0;
    double f = 0;
    int blob = -1;
    std::visit(
        [&](const auto& x) {
          using T = std::decay_t<decltype(x)>;
          if constexpr (std::is_same_v<T, int64_t> || std::is_same_v<T, bool>)
            i = x;
          else if constexpr (std::is_same_v<T, double>)
            f = x;
          else if constexpr (std::is_same_v<T, std::string>)
            s = builder.CreateSharedString(x);
          else if constexpr (std::is_same_v<T, std::vector<int64_t>>)
            ints = builder.CreateVector(x);
          else if constexpr (std::is_same_v<T, std::vector<double>>)
            floats = builder.CreateVector(x);
          else if constexpr (std::is_same_v<T, std::vector<std::string>>)
            texts = this->strings(x);
          else if constexpr (std::is_same_v<T, DType>)
            i = static_cast<int64_t>(x);
          else if constexpr (std::is_same_v<T, TensorType>)
            ty = type(x);
          else if (x.defined()) {
            blob = blobs.add(x);
            ty = type(x.type());
          }
        },
        value);
    return fbs::CreateAttr(builder, static_cast<uint16_t>(id), static_cast<uint8_t>(value.index()),
                           i, f, s, ints, floats, texts, blob, ty);
  }

  Offset<fbs::Step> step(const FileStep& s) {
    const OpDef& def = s.op->def();
    std::vector<Offset<fbs::Attr>> attrs;
    for (size_t i = 0; i < def.fields.size(); ++i)
      if (!s.op->is_default(i)) attrs.push_back(attr(def.fields[i].id, s.op->get(i)));
    std::vector<Offset<fbs::Graph>> regions;
    for (const FileGraph& r : s.regions) regions.push_back(graph(r));
    return fbs::CreateStep(builder, op_index(def.name), vector(s.inputs), vector(s.outputs),
                           vector(attrs), vector(regions), strings(s.origins));
  }

  Offset<fbs::Graph> graph(const FileGraph& g) {
    std::vector<Offset<fbs::Value>> values;
    for (const FileValue& v : g.values)
      values.push_back(fbs::CreateValue(builder, type(v.type), builder.CreateSharedString(v.name)));
    std::vector<Offset<fbs::Constant>> constants;
    for (const FileConstant& c : g.constants)
      constants.push_back(fbs::CreateConstant(builder, c.value, blobs.add(c.tensor, c.layout)));
    std::vector<Offset<fbs::Step>> steps;
    for (const FileStep& s : g.steps) steps.push_back(step(s));
    const auto name = builder.CreateString(g.name);
    return fbs::CreateGraph(builder, name, vector(values), vector(g.inputs), vector(g.outputs),
                            vector(constants), vector(steps));
  }

  Offset<fbs::DeviceTensor> device_tensor(const FileDeviceTensor& t) {
    Offset<fbs::Recipe> recipe;
    if (t.recipe != nullptr) {
      const int blob = blobs.add(t.recipe->source);
      recipe =
          fbs::CreateRecipe(builder, builder.CreateSharedString(t.recipe->kind), blob,
                            type(t.recipe->source.type()), builder.CreateVector(t.recipe->numbers));
    }
    return fbs::CreateDeviceTensor(builder, builder.CreateSharedString(t.name), t.role,
                                   static_cast<uint8_t>(t.dtype), t.elements, t.address, recipe);
  }

  Offset<fbs::DeviceProgram> program(const FileDeviceProgram& p) {
    std::vector<Offset<fbs::Type>> inputs;
    for (const TensorType& t : p.inputs) inputs.push_back(type(t));
    std::vector<Offset<fbs::DeviceTensor>> tensors;
    for (const FileDeviceTensor& t : p.tensors) tensors.push_back(device_tensor(t));
    std::vector<Offset<fbs::DeviceStep>> steps;
    for (const FileDeviceStep& s : p.steps)
      steps.push_back(fbs::CreateDeviceStep(
          builder, builder.CreateSharedString(s.code), builder.CreateVector(s.operands), s.reads,
          s.node, builder.CreateSharedString(s.reason), builder.CreateSharedString(s.tiling)));
    const auto lowered = graph(p.graph);
    return fbs::CreateDeviceProgram(
        builder, builder.CreateString(p.function), builder.CreateString(p.precision), p.batch,
        builder.CreateVector(inputs), lowered, builder.CreateVector(tensors),
        builder.CreateVector(steps), builder.CreateVector(p.input_tensors),
        builder.CreateVector(p.output_tensors), p.peak_bytes);
  }

  uint16_t op_index(std::string_view name) {
    const auto it = std::find(op_names_.begin(), op_names_.end(), name);
    if (it != op_names_.end()) return static_cast<uint16_t>(it - op_names_.begin());
    op_names_.emplace_back(name);
    return static_cast<uint16_t>(op_names_.size() - 1);
  }

  std::vector<std::string> op_names_;
  std::unordered_map<std::string, Offset<fbs::Type>> types_;
};

// The file as a list of byte ranges: header with sections, metadata, weights, and padding between.
struct Layout {
  Encoder encoder;
  std::vector<std::byte> head;
  std::vector<std::unique_ptr<std::string>> named;  // sections, or their names
  std::vector<Bytes> parts;
};

constexpr std::byte kPadding[container::kAlignment] = {};

void pad(std::vector<Bytes>& parts, uint64_t size) {
  const uint64_t rest = size % container::kAlignment;
  if (rest != 0) parts.push_back(Bytes(kPadding, container::kAlignment - rest));
}

// u64 length of a name, and the name.
std::string head_of(std::string_view name) {
  std::string head(sizeof(uint64_t), '\0');
  const uint64_t length = name.size();
  std::memcpy(head.data(), &length, sizeof length);
  return head.append(name);
}

// A section after the last one: its name and the rest. It may be skipped: libraries can also be
// given from outside, programs be made anew.
void add_named(container::Kind kind, std::string head, Bytes rest, Layout& layout,
               std::vector<container::Section>& sections, std::vector<Bytes>& tail) {
  layout.named.push_back(std::make_unique<std::string>(std::move(head)));
  const Bytes name = as_bytes(*layout.named.back());
  StreamHash64 hash;
  hash.add(name);
  hash.add(rest);
  const container::Section& last = sections.back();
  const uint64_t end = container::aligned(last.offset + last.size);
  sections.push_back({kind, 0, end, name.size() + rest.size(), hash.digest()});
  tail.push_back(name);
  tail.push_back(rest);
  pad(tail, sections.back().size);
}

// Weights, padded, to what is written; their hash.
uint64_t add_weights(const BlobTable::Part& part, std::vector<Bytes>& parts) {
  StreamHash64 hash;
  const size_t first = parts.size();
  for (const Bytes bytes : part.bytes) {
    parts.push_back(bytes);
    pad(parts, bytes.size());
  }
  for (size_t i = first; i < parts.size(); ++i) hash.add(parts[i]);
  return hash.digest();
}

void lay_out(const FileModel& model, Layout& layout) {
  std::vector<std::string> programs;  // per section that has some
  for (const FileDeviceSection& s : model.device_sections) {
    if (s.programs.empty()) continue;
    std::string head = head_of(s.target);
    head.resize(container::aligned(head.size()));
    programs.push_back(head + layout.encoder.section(s));
  }
  layout.encoder.model(model);
  const Bytes metadata(
      reinterpret_cast<const std::byte*>(layout.encoder.builder.GetBufferPointer()),
      layout.encoder.builder.GetSize());
  container::Header header{};
  std::memcpy(header.magic, container::kMagic, sizeof header.magic);
  header.major = kFormatMajor;
  header.minor = kFormatMinor;
  const BlobTable& blobs = layout.encoder.blobs;
  const size_t more_weights =
      (blobs.packed().size > 0 ? 1 : 0) + (blobs.prepacked().size > 0 ? 1 : 0);
  header.section_count =
      static_cast<uint32_t>(2 + more_weights + model.libraries.size() + programs.size());
  std::vector<container::Section> sections(2);
  const uint64_t head_size = sizeof header + header.section_count * sizeof sections[0];
  sections[0] = {container::kMetadata, container::kRequired, container::aligned(head_size),
                 metadata.size(), hash64(metadata)};
  sections[1] = {container::kWeights, container::kRequired,
                 container::aligned(sections[0].offset + metadata.size()), 0, 0};
  std::vector<Bytes> weights, tail;
  sections[1].size = blobs.dense().size;
  sections[1].hash = add_weights(blobs.dense(), weights);
  const auto add_section = [&](container::Kind kind, uint32_t flags, const BlobTable::Part& part) {
    if (part.size > 0)
      sections.push_back({kind, flags,
                          container::aligned(sections.back().offset + sections.back().size),
                          part.size, add_weights(part, weights)});
  };
  add_section(container::kPacked, container::kRequired, blobs.packed());
  // A reader that knows none makes the forms itself.
  add_section(container::kPrepacked, 0, blobs.prepacked());
  for (const FileLibrary& library : model.libraries)
    add_named(container::kCustomOps, head_of(library.name), library.bytes.bytes, layout, sections,
              tail);
  for (std::string& section : programs)
    add_named(container::kDevice, std::move(section), {}, layout, sections, tail);
  layout.head.resize(head_size);
  std::memcpy(layout.head.data(), &header, sizeof header);
  std::memcpy(layout.head.data() + sizeof header, sections.data(), head_size - sizeof header);
  const uint64_t head_hash = hash64(layout.head);
  std::memcpy(layout.head.data() + offsetof(container::Header, header_hash), &head_hash,
              sizeof head_hash);
  layout.parts.push_back(layout.head);
  pad(layout.parts, head_size);
  layout.parts.push_back(metadata);
  pad(layout.parts, metadata.size());
  layout.parts.insert(layout.parts.end(), weights.begin(), weights.end());
  layout.parts.insert(layout.parts.end(), tail.begin(), tail.end());
}

}  // namespace

Result<std::vector<std::byte>> encode_model(const FileModel& model) {
  Layout layout;
  lay_out(model, layout);
  std::vector<std::byte> bytes;
  for (const Bytes part : layout.parts) bytes.insert(bytes.end(), part.begin(), part.end());
  return bytes;
}

Status write_model(const std::string& path, const FileModel& model) {
  Layout layout;
  lay_out(model, layout);
  return write_file_atomically(path, layout.parts);
}

}  // namespace tenon
