#include "fuzz/targets.h"

#include <cstring>
#include <filesystem>
#include <fstream>

#include "bang/evaluate.h"
#include "base/check.h"
#include "base/hash.h"
#include "calibrate/dataset.h"
#include "chip/deploy.h"
#include "chip/program_file.h"
#include "chip/simulated_graph.h"
#include "compiler/compile.h"
#include "compiler/stored_layouts.h"
#include "format/container.h"
#include "image/image.h"
#include "import/tensorflow/bundle.h"
#include "isa/check_program.h"
#include "isa/parse_program.h"
#include "isa/text.h"
#include "lower/custom_kernel.h"
#include "runtime/model.h"
#include "simulate/run_program.h"
#include "tensor/npy.h"

namespace tenon::fuzz {
namespace {

namespace fs = std::filesystem;

Blob blob_of(const std::string& bytes) {
  auto copy = std::make_shared<std::string>(bytes);
  const Bytes view = as_bytes(*copy);
  return {view, std::move(copy)};
}

void write(const fs::path& path, const std::string& bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<int64_t>(bytes.size()));
}

Status compile_bytes(const std::string& bytes, const std::string&) {
  TRY(compile_model(blob_of(bytes), {}));
  return {};
}

// With all weights as kernels read them: packed, or in a form of their own beside.
std::string compiled(const std::string& path) {
  auto model = compile_model(path, {});
  if (!model.ok()) return {};
  for (FileFunction& function : model->model.functions) choose_layouts(function.graph, true);
  auto bytes = encode_model(model->model);
  if (!bytes.ok()) return {};
  const auto loaded = runtime::Model::load(blob_of(std::string(as_text(*bytes))), {.threads = 1});
  if (loaded.ok()) {
    for (const std::string& key : loaded->functions()) loaded->function(key)->prepare();
    model->model.prepacked = loaded->prepacked();
    bytes = encode_model(model->model);
  }
  return bytes.ok() ? std::string(as_text(*bytes)) : std::string();
}

Status saved_model(const std::string& bytes, const std::string& scratch) {
  const fs::path folder = fs::path(scratch) / "saved_model";
  write(folder / "saved_model.pb", bytes);
  TRY(compile_model(folder.string(), {}));
  return {};
}

// The bytes are the index of a checkpoint; every tensor it lists is read from a small shard.
Status checkpoint(const std::string& bytes, const std::string& scratch) {
  const fs::path folder = fs::path(scratch) / "variables";
  write(folder / "variables.index", bytes);
  write(folder / "variables.data-00000-of-00001", std::string(4096, 'x'));
  auto bundle = TRY(tf::CheckpointBundle::open((folder / "variables").string()));
  for (const std::string_view key : bundle.keys()) (void)bundle.read(key);
  return {};
}

Status npy(const std::string& bytes, const std::string& scratch) {
  const fs::path path = fs::path(scratch) / "array.npy";
  write(path, bytes);
  TRY(read_npy(path.string()));
  return {};
}

// An archive of arrays, compressed or not.
Status npz(const std::string& bytes, const std::string& scratch) {
  const fs::path path = fs::path(scratch) / "arrays.npz";
  write(path, bytes);
  TRY(read_npz(path.string()));
  return {};
}

// A tf.Example with the first numbers of an array as the features x, n and s.
std::string example_of(const std::string& path) {
  const auto array = read_npy(path);
  if (!array.ok() || array->elements() < 4) return {};
  std::string reals, wholes;
  for (int64_t i = 0; i < 4; ++i) {
    const auto real = static_cast<float>(array->real_at(i));
    reals.append(reinterpret_cast<const char*>(&real), sizeof real);
    wholes += static_cast<char>(i);
  }
  // Nothing here is longer than 127 bytes.
  const auto field = [](char key, const std::string& content) {
    return std::string{key, static_cast<char>(content.size())} + content;
  };
  const auto feature = [&](const std::string& name, char kind, const std::string& values) {
    return field(0x0a, field(0x0a, name) + field(0x12, field(kind, field(0x0a, values))));
  };
  return field(0x0a,
               feature("x", 0x12, reals) + feature("n", 0x1a, wholes) + feature("s", 0x0a, "text"));
}

// The message as the one record of a TFRecord file.
Status record(const std::string& bytes, const std::string& scratch) {
  const fs::path path = fs::path(scratch) / "data.tfrecord";
  const uint64_t size = bytes.size();
  const std::string length(reinterpret_cast<const char*>(&size), sizeof size);
  write(path, length + "crc." + bytes + "crc.");
  const auto data = record_dataset(
      {path.string()},
      {{"x", {DType::f32, {1, 4}}}, {"n", {DType::i64, {1, 4}}}, {"s", {DType::string, {1}}}});
  while (TRY(data->next())) {
  }
  return {};
}

// Sets the checksums right, so that what lies behind them is reached.
void fix_checksums(std::string& file) {
  container::Header header{};
  if (file.size() < sizeof header) return;
  std::memcpy(&header, file.data(), sizeof header);
  const uint64_t count = header.section_count;
  const uint64_t head = sizeof header + count * sizeof(container::Section);
  if (count > container::kMaxSections || head > file.size()) return;
  for (uint64_t i = 0; i < count; ++i) {
    container::Section s{};
    char* place = file.data() + sizeof header + i * sizeof s;
    std::memcpy(&s, place, sizeof s);
    if (s.offset > file.size() || s.size > file.size() - s.offset) continue;
    s.hash = hash64(as_bytes(file).subspan(s.offset, s.size));
    std::memcpy(place, &s, sizeof s);
  }
  header.header_hash = 0;
  std::memcpy(file.data(), &header, sizeof header);
  header.header_hash = hash64(as_bytes(file).first(head));
  std::memcpy(file.data(), &header, sizeof header);
}

// Loads the file and plans every function, which is as far as a file alone can drive the runtime.
Status load_and_plan(const std::string& bytes) {
  std::string fixed = bytes;
  fix_checksums(fixed);
  runtime::LoadOptions options;
  options.threads = 1;
  const auto model = TRY(runtime::Model::load(blob_of(fixed), options));
  for (const std::string& key : model.functions()) {
    const auto function = TRY(model.function(key));
    TensorTypes types;
    for (const runtime::PortInfo& port : function.inputs()) {
      TensorType type = port.type;
      for (Dim& d : type.shape.dims()) d = Dim(d.size_or(1));
      types.push_back(std::move(type));
    }
    (void)function.explain(types);
  }
  return {};
}

// A plan may need any amount of memory; where there is none, the C ABI makes this an error too.
Status tenon_file(const std::string& bytes, const std::string&) {
  try {
    return load_and_plan(bytes);
  } catch (const std::bad_alloc&) {
    return resource_exhausted("out of memory");
  }
}

// A file with programs for a chip of each family.
std::string compiled_for_chips(const std::string& path) {
  static const MachineCatalog catalog = MachineCatalog::load().value();
  auto model = compile_model(path, {});
  if (!model.ok()) return {};
  const Machine* const chips[] = {*catalog.find("ascend310p3"), *catalog.find("mlu370-s4")};
  const int64_t batch = 2;
  if (!add_chip_programs(model->model, chips, {&batch, 1}, "fp16").ok()) return {};
  const auto bytes = encode_model(model->model);
  return bytes.ok() ? std::string(as_text(*bytes)) : std::string();
}

// Reads, verifies and runs every program on zeros.
Status device_section(const std::string& bytes, const std::string&) {
  static const MachineCatalog catalog = MachineCatalog::load().value();
  constexpr int64_t kMostBytes = 1 << 24, kMostWork = 1 << 18;
  std::string fixed = bytes;
  fix_checksums(fixed);
  try {
    const Blob file = blob_of(fixed);
    const FileModel model = TRY(read_model(file));
    for (const FileDeviceSection& s : model.device_sections) {
      const auto machine = catalog.find(s.target);
      if (!machine.ok()) continue;
      const FileDeviceSection section = TRY(read_device_section(file, s.target, s.bytes));
      for (const FileDeviceProgram& p : section.programs) {
        const StoredProgram stored = TRY(decode_program(p, **machine));
        if (stored.program.peak_bytes > kMostBytes) continue;
        const auto simulated = TRY(SimulatedGraph::load(*stored.graph, stored.program));
        std::vector<Tensor> inputs;
        for (const TensorType& t : p.inputs) {
          if (t.is_list || !t.shape.is_static()) return unsupported("an input of open size");
          inputs.push_back(TRY(Tensor::zeros(t.dtype, t.shape.sizes())));
        }
        TRY(simulated->run(inputs, {.max_work = kMostWork, .max_loop_iterations = 100}));
      }
    }
    return {};
  } catch (const std::bad_alloc&) {
    return resource_exhausted("out of memory");
  }
}

Status image_file(const std::string& bytes, const std::string&) {
  try {
    TRY(image::decode(bytes, {}));
    TRY(image::decode(bytes, {.channels = 3, .wide = true, .recover_truncated = true}));
    return {};
  } catch (const std::bad_alloc&) {
    return resource_exhausted("out of memory");
  }
}

Status tn(const std::string& bytes, const std::string& scratch) {
  const fs::path path = fs::path(scratch) / "graph.tn";
  write(path, bytes);
  TRY(compile_model(path.string(), {}));
  return {};
}

// A program for the chip it names, or for one of its family.
Status tile(const std::string& bytes, const std::string&) {
  static const MachineCatalog catalog = MachineCatalog::load().value();
  const std::string target = TRY(isa::target_of_program(bytes, "fuzz"));
  const isa::Architecture architecture = isa::architecture_of(*TRY(catalog.find(target)));
  const isa::Program program = TRY(isa::parse_program(bytes, architecture, "fuzz"));
  const std::string text = isa::print_program(program, architecture);
  const auto again = isa::parse_program(text, architecture, "printed");
  TENON_CHECK(again.ok() && isa::print_program(*again, architecture) == text);
  TRY(isa::check_program(program, architecture));
  constexpr int64_t kMostElements = 1 << 20, kMostWork = 1 << 18;
  std::vector<std::vector<std::byte>> memory;
  std::vector<simulate::GlobalBuffer> buffers;
  for (const isa::Buffer& b : program.buffers) {
    if (b.elements > kMostElements) return resource_exhausted("a large buffer");
    memory.emplace_back(static_cast<size_t>(b.elements) * dtype_size(b.dtype));
    buffers.push_back({memory.back()});
  }
  return simulate::run_program(program, architecture, buffers, {.max_work = kMostWork});
}

// A kernel file, evaluated and lowered for small operands.
Status kernel(const std::string& bytes, const std::string&) {
  static const MachineCatalog catalog = MachineCatalog::load().value();
  const auto kernel = TRY(bang::parse_kernel(bytes, "fuzz.mlu"));
  TensorTypes types;
  std::vector<Tensor> inputs, outputs;
  for (const auto& input : kernel->signature.inputs) {
    const DType dtype = input.dtype == DType::none ? DType::f32 : input.dtype;
    std::vector<int64_t> dims(input.dims.size(), 8);
    if (TRY(checked_elements(dims, 4)) > (1 << 20)) return resource_exhausted("a large input");
    inputs.push_back(TRY(Tensor::zeros(dtype, dims)));
    types.push_back(inputs.back().type());
  }
  const bang::Sizes sizes = TRY(bang::apply_shape_rule(*kernel, types, {}));
  if (!bang::is_complete(*kernel, sizes)) return unsupported("a size is open");
  for (const TensorType& type : sizes.outputs) {
    const std::vector<int64_t> dims = type.shape.sizes();
    if (TRY(checked_elements(dims, 4)) > (1 << 20)) return resource_exhausted("a large output");
    outputs.push_back(TRY(Tensor::zeros(type.dtype, dims)));
  }
  constexpr int64_t kMostSteps = 20'000;
  Status evaluated = bang::evaluate(*kernel, sizes, inputs, outputs, {kMostSteps});
  const isa::Architecture chip = isa::architecture_of(*TRY(catalog.find("mlu370-s4")));
  lower::KernelCompiler compiler(*kernel, sizes, DType::f32, chip, 6);
  isa::Program program = TRY(compiler.run("fuzz"));
  for (isa::Buffer& b : program.buffers) b.elements = 64;
  if (Status s = isa::check_program(program, chip); !s.ok())
    return compiler.refused(program, std::move(s).error());
  return evaluated;
}

// The input of a golden test.
std::string first_case(const std::string& path) {
  const auto text = read_text_file(path);
  return text.ok() ? text->substr(0, text->find("----")) : std::string();
}

const std::vector<Target> kTargets = {
    {"graph_def",
     "a GraphDef, compiled",
     Form::message,
     {{"tests/fixtures/tf", "/model.pb"}},
     compile_bytes},
    {"graph_text",
     "a GraphDef in text form, compiled",
     Form::text,
     {{"tests/fixtures/tf", ".pbtxt"}},
     compile_bytes},
    {"saved_model",
     "a saved_model.pb, compiled",
     Form::message,
     {{"tests/fixtures/tf", "saved_model.pb"}},
     saved_model},
    {"checkpoint",
     "the index of a checkpoint, all tensors read",
     Form::bytes,
     {{"tests/fixtures/tf", "variables.index"}, {"examples", "variables.index"}},
     checkpoint},
    {"onnx",
     "an ONNX model, compiled",
     Form::message,
     {{"tests/fixtures/onnx", ".onnx"}},
     compile_bytes},
    {"tn",
     "a graph in Tenon's text form, compiled",
     Form::text,
     {{"tests/passes", ".tn"}, {"tests/ir", ".tn"}},
     tn,
     first_case},
    {"tile",
     "a tile program, checked and run",
     Form::text,
     {{"tests/isa", ".tile"}},
     tile,
     first_case},
    {"kernel",
     "a kernel file, evaluated and lowered",
     Form::text,
     {{"tests/kernels", ".mlu"}, {"examples", ".mlu"}},
     kernel},
    {"image",
     "a JPEG, PNG, GIF, BMP or PNM file",
     Form::bytes,
     {{"tests/fixtures/images", ""}},
     image_file},
    {"npy", "a NumPy array", Form::bytes, {{"examples", ".npy"}}, npy},
    {"npz", "an archive of NumPy arrays", Form::bytes, {{"tests/fixtures/onnx", ".npz"}}, npz},
    {"record",
     "a tf.Example in a TFRecord file, read as a sample",
     Form::message,
     {{"examples", ".npy"}},
     record,
     example_of},
    {"tenon_file",
     "a .tenon file with valid checksums, loaded and planned",
     Form::bytes,
     {{"tests/fixtures/tf", "/model.pb"}, {"tests/fixtures/onnx", ".onnx"}},
     tenon_file,
     compiled},
    {"device_section",
     "a .tenon file with programs for chips and valid checksums, read and run",
     Form::bytes,
     {{"tests/fixtures/onnx/activations", ".onnx"},
      {"tests/fixtures/onnx/cnn_opset20", ".onnx"},
      {"tests/fixtures/onnx/conv_1d_3d", ".onnx"}},
     device_section,
     compiled_for_chips},
};

}  // namespace

std::span<const Target> targets() {
  return kTargets;
}

}  // namespace tenon::fuzz
