// Sections for chips: what reader.cpp finds, as plain data.
#include "format/decoder.h"

namespace tenon {

Result<FileDeviceSection> decode_device_section(Decoder& decoder, const std::string& target,
                                                Bytes section);

namespace {

std::string text(const flatbuffers::String* s) {
  return s == nullptr ? "" : s->str();
}

std::vector<int> ints(const flatbuffers::Vector<int32_t>* v) {
  return v == nullptr ? std::vector<int>() : std::vector<int>(v->begin(), v->end());
}

Result<FileDeviceTensor> read_tensor(Decoder& decoder, const fbs::DeviceTensor& t) {
  FileDeviceTensor out;
  out.name = text(t.name());
  out.role = t.role();
  if (t.dtype() == 0 || t.dtype() >= kDTypeEnd) return corrupt("a chip's tensor of no type");
  out.dtype = static_cast<DType>(t.dtype());
  if (out.dtype == DType::string && t.recipe() != nullptr)
    return corrupt("a chip's constant of strings");
  const auto size = static_cast<int64_t>(dtype_size(out.dtype));
  if (t.elements() < 0 || t.elements() > kMaxTensorBytes / size || t.address() < 0)
    return corrupt(fmt::format("the chip's tensor '{}' has {} elements at {}", out.name,
                               t.elements(), t.address()));
  out.elements = t.elements();
  out.address = t.address();
  if (t.recipe() == nullptr) return out;
  const TensorType type = TRY(decoder.type(t.recipe()->type()));
  out.recipe = std::make_unique<FileRecipe>();
  out.recipe->kind = text(t.recipe()->kind());
  out.recipe->source = TRY(decoder.tensor(t.recipe()->blob(), type));
  out.recipe->numbers = Decoder::numbers(t.recipe()->numbers());
  return out;
}

Result<FileDeviceProgram> read_program(Decoder& decoder, const fbs::DeviceProgram& p) {
  FileDeviceProgram out;
  out.function = text(p.function());
  out.precision = text(p.precision());
  out.batch = p.batch();
  out.peak_bytes = p.peak_bytes();
  if (p.graph() == nullptr || p.peak_bytes() < 0) return corrupt("a chip's program is cut off");
  if (p.inputs() != nullptr)
    for (const auto* type : *p.inputs()) out.inputs.push_back(TRY(decoder.type(type)));
  out.graph = TRY(decoder.graph(*p.graph(), 0));
  if (p.tensors() != nullptr)
    for (const auto* t : *p.tensors()) out.tensors.push_back(TRY(read_tensor(decoder, *t)));
  const auto known = [&](const std::vector<int>& tensors) {
    for (const int t : tensors)
      if (t < 0 || static_cast<size_t>(t) >= out.tensors.size()) return false;
    return true;
  };
  if (p.steps() != nullptr)
    for (const auto* s : *p.steps()) {
      FileDeviceStep& step = out.steps.emplace_back();
      step = {text(s->code()), ints(s->operands()), s->reads(),
              s->node(),       text(s->reason()),   text(s->tiling())};
      if (step.node < 0 || static_cast<size_t>(step.node) >= out.graph.steps.size() ||
          !known(step.operands) || step.reads > step.operands.size())
        return corrupt(fmt::format("step {} of a chip's program is of no node or has no operands",
                                   out.steps.size() - 1));
    }
  out.input_tensors = ints(p.input_tensors());
  out.output_tensors = ints(p.output_tensors());
  if (!known(out.input_tensors) || !known(out.output_tensors) ||
      out.input_tensors.size() != out.graph.inputs.size() ||
      out.output_tensors.size() != out.graph.outputs.size() ||
      out.inputs.size() != out.graph.inputs.size())
    return corrupt("the inputs and outputs of a chip's program are not those of its graph");
  return out;
}

}  // namespace

Result<FileDeviceSection> decode_device_section(Decoder& decoder, const std::string& target,
                                                Bytes section) {
  FileDeviceSection out;
  out.target = target;
  out.bytes = section;
  const auto damaged = [&](Error error) {
    return std::move(error).note(fmt::format("in the programs for {}", target));
  };
  flatbuffers::Verifier verifier(reinterpret_cast<const uint8_t*>(section.data()), section.size(),
                                 3 * kMaxGraphDepth, kMaxTables);
  if (section.empty() || !verifier.VerifyBuffer<fbs::DeviceSection>(nullptr))
    return damaged(corrupt("a section for a chip is malformed"));
  const auto& root = *flatbuffers::GetRoot<fbs::DeviceSection>(section.data());
  out.machine = root.machine();
  if (root.programs() != nullptr)
    for (const auto* p : *root.programs()) {
      auto program = read_program(decoder, *p);
      if (!program.ok()) return damaged(std::move(program).error());
      out.programs.push_back(std::move(*program));
    }
  return out;
}

}  // namespace tenon
