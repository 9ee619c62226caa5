#include "emit/folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "emit/ascend_c.h"
#include "emit/bang_c.h"
#include "emit/build_files.h"
#include "emit/host_code.h"
#include "emit/names.h"
#include "ir/graph.h"
#include "isa/check_program.h"
#include "isa/text.h"

namespace tenon::emit {
namespace {

class Emitter {
 public:
  explicit Emitter(const EmitRequest& request)
      : request_(request), program_(*request.program), family_(program_.architecture.family) {}

  Result<EmittedModel> run() {
    TRY(check_tensors());
    name_tensors();
    for (const DeviceStep& step : program_.steps) TRY(step.program ? kernel(step) : host(step));
    parts_.family = family_;
    add("layers.h", head("What the host runs, and where.") + layers_header(request_, parts_));
    add("layers.cpp", head("The layers, in order.") + layers_source(request_, parts_));
    add("main.cpp", head("The model as a program.") + main_source(request_, parts_));
    if (!model_.host.empty())
      add("host_layers.cpp",
          head("What the chip does not run.") + host_layers_source(model_, parts_));
    TRY(add_data());
    model_.layers = static_cast<size_t>(
        std::ranges::count_if(parts_.calls, [](const Call& c) { return !c.on_host; }));
    model_.kernels = kernels_.size();
    for (EmittedFile& f : common_files(family_)) {
      const size_t at = f.bytes.find("@STATUS@");
      if (at != std::string::npos) f.bytes.replace(at, 8, status_text(request_.checked));
      model_.files.push_back(std::move(f));
    }
    for (EmittedFile& f : build_files(request_, model_, kernels_))
      model_.files.push_back(std::move(f));
    return std::move(model_);
  }

 private:
  void add(std::string path, std::string bytes) {
    model_.files.push_back({std::move(path), std::move(bytes)});
  }

  // The lines at the top of every source.
  std::string head(const std::string& what) const {
    return fmt::format("// {}\n// Model '{}' for {}, {}, batch {}; written by tenon emit.\n// {}\n",
                       comment_text(what), comment_text(request_.model), program_.architecture.name,
                       request_.precision, request_.batch, status_text(request_.checked));
  }

  Status check_tensors() {
    used_.assign(program_.tensors.size(), false);
    std::vector<bool> known(program_.tensors.size(), false);
    for (size_t t = 0; t < known.size(); ++t) known[t] = !!program_.tensors[t].make;
    for (const int t : program_.inputs) known[static_cast<size_t>(t)] = true;
    for (const DeviceStep& step : program_.steps)
      for (const int t : step.operands) {
        const DeviceTensor& tensor = program_.tensors[static_cast<size_t>(t)];
        if (!isa::is_tile_dtype(tensor.dtype))
          return unsupported(
              fmt::format("'{}' needs tensor '{}' of {}, and chips have none of that",
                          step_name(step), tensor.name, dtype_name(tensor.dtype)));
        used_[static_cast<size_t>(t)] = known[static_cast<size_t>(t)] = true;
      }
    for (const int t : program_.outputs) {
      const DeviceTensor& tensor = program_.tensors[static_cast<size_t>(t)];
      if (!known[static_cast<size_t>(t)] || !isa::is_tile_dtype(tensor.dtype))
        return unsupported(fmt::format(
            "output '{}' is not computed on the chip; leave it out with --outputs", tensor.name));
      used_[static_cast<size_t>(t)] = true;
    }
    for (const int t : program_.inputs)
      if (isa::is_tile_dtype(program_.tensors[static_cast<size_t>(t)].dtype))
        used_[static_cast<size_t>(t)] = true;
    return {};
  }

  void name_tensors() {
    Names names;
    for (size_t t = 0; t < program_.tensors.size(); ++t)
      parts_.places.push_back(used_[t] ? names.unique(program_.tensors[t].name) : "");
  }

  static std::string step_name(const DeviceStep& step) {
    if (step.program) return step.program->name;
    if (step.node->origins.empty()) return std::string(step.node->def().name);
    return step.node->origins[0];
  }

  // Layers with the same program share a kernel.
  Status kernel(const DeviceStep& step) {
    isa::Program key = *step.program;
    key.name = "kernel";
    key.origins.clear();
    const std::string text = isa::print_program(key, program_.architecture);
    auto [known, is_new] = kernel_of_.try_emplace(text, "");
    if (is_new) {
      const std::string name =
          names_.unique(fmt::format("{}_{}", step.program->name, step.program->algorithm));
      known->second = name;
      const Kernel made =
          TRY(family_ == "ascend" ? ascend_c_kernel(*step.program, program_.architecture, name)
                                  : bang_c_kernel(*step.program, program_.architecture, name));
      const std::string file =
          fmt::format("kernels/{}.{}", name, family_ == "ascend" ? "asc" : "mlu");
      std::string what = fmt::format("Layer '{}': {}", step.program->name, step.program->algorithm);
      if (!step.tiling.empty()) what += "; " + step.tiling;
      std::string origins;
      for (const std::string& o : step.program->origins)
        origins += (origins.empty() ? "" : ", ") + o;
      std::string text_of_file = head(what + ".");
      if (!origins.empty())
        text_of_file += fmt::format("// Of the model's {}.\n", comment_text(origins));
      text_of_file += "#include \"../layers.h\"\n#include \"../tenon_tiles.h\"\n\n";
      if (family_ == "ascend") text_of_file += "using namespace AscendC;\n\n";
      add(file, text_of_file + made.text);
      kernels_.push_back(file);
      std::string parameters;
      for (const std::string& p : made.parameters) parameters += fmt::format("uint8_t* {}, ", p);
      parts_.declarations +=
          fmt::format("void launch_{}({}{});\n", name, parameters,
                      family_ == "ascend" ? "void* stream" : "cnrtQueue_t queue");
    }
    std::string comment = fmt::format("{}: {}", step.program->name, step.program->algorithm);
    if (!step.tiling.empty()) comment += ", " + step.tiling;
    parts_.calls.push_back({comment, "launch_" + known->second, {}, step.operands, false});
    return {};
  }

  Status host(const DeviceStep& step) {
    const std::string name = step_name(step);
    model_.host.push_back({name, step.reason});
    const auto reads = static_cast<std::ptrdiff_t>(std::min(step.reads, step.operands.size()));
    parts_.calls.push_back({fmt::format("{}: on the host, {}", name, step.reason),
                            "host_" + names_.unique(name),
                            {step.operands.begin(), step.operands.begin() + reads},
                            {step.operands.begin() + reads, step.operands.end()},
                            true});
    return {};
  }

  Status add_data() {
    std::string weights;
    for (size_t t = 0; t < program_.tensors.size(); ++t) {
      const DeviceTensor& tensor = program_.tensors[t];
      if (!tensor.make || !used_[t]) continue;
      weights += TRY(device_bytes(TRY(tensor.make()), tensor.dtype));
    }
    add("weights.bin", std::move(weights));
    for (size_t i = 0; i < request_.inputs.size(); ++i) {
      const auto t = static_cast<size_t>(program_.inputs[i]);
      if (!used_[t]) continue;
      add(fmt::format("check/inputs/{}.bin", request_.input_names[i]),
          TRY(device_bytes(request_.inputs[i], program_.tensors[t].dtype)));
    }
    for (size_t i = 0; i < request_.expected.size(); ++i) {
      const DType dtype = program_.tensors[static_cast<size_t>(program_.outputs[i])].dtype;
      add(fmt::format("check/expected/{}.bin", request_.output_names[i]),
          TRY(device_bytes(request_.expected[i], is_float(dtype) ? DType::f32 : dtype)));
    }
    return {};
  }

  const EmitRequest& request_;
  const DeviceProgram& program_;
  std::string family_;
  EmittedModel model_;
  HostParts parts_;
  Names names_;
  std::map<std::string, std::string> kernel_of_;
  std::vector<std::string> kernels_;  // files
  std::vector<bool> used_;
};

}  // namespace

Result<EmittedModel> emit_model(const EmitRequest& request) {
  return Emitter(request).run();
}

}  // namespace tenon::emit
