// The .tenon file: a compiled model as plain data, its writer and its reader. Shared by compiler
// and runtime; knows no graph IR. The layout is described in docs/file_format.md.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "ops/op.h"
#include "tensor/packed_weight.h"

namespace tenon {

constexpr uint16_t kFormatMajor = 1;  // a reader refuses files of a newer major version
constexpr uint16_t kFormatMinor = 4;  // and reads any minor one

struct FileValue {
  TensorType type;
  std::string name;
};

struct FileConstant {
  int value;
  Tensor tensor;
  // The layout a file holds it in, where nothing else refers to the same content: the name of a
  // PanelLayout of as many bytes; empty: dense.
  std::string layout = {};
};

struct FileStep;

// A graph in execution order. Values are numbered; -1 stands for an absent optional operand.
struct FileGraph {
  std::string name;
  std::vector<FileValue> values;
  std::vector<int> inputs;
  std::vector<int> outputs;
  std::vector<FileConstant> constants;
  std::vector<FileStep> steps;
};

struct FileStep {
  std::unique_ptr<Op> op;
  std::vector<int> inputs;
  std::vector<int> outputs;
  std::vector<FileGraph> regions;
  std::vector<std::string> origins;  // names in the user's model
};

// A variable that keeps its value between runs. Functions that name the same one share it.
struct FileState {
  std::string name;
  Tensor initial;
  bool is_written = true;
};

// Behind the named inputs the graph has one for each variable, its value before the run; behind the
// named outputs, one for each that is written, its value afterwards.
struct FileFunction {
  std::string key;  // the signature
  FileGraph graph;
  std::vector<std::string> input_names;
  std::vector<std::string> output_names;
  std::vector<FileState> state;
};

// A shared library with custom ops that the file carries. Foreign code: it is not run unless the
// one who loads the file says so.
struct FileLibrary {
  std::string name;
  Blob bytes;
};

// How a constant of a chip is made of a weight (lower/recipe.h).
struct FileRecipe {
  std::string kind;  // "stored": the weight is what the chip wants
  Tensor source;
  std::vector<int64_t> numbers;
};

// What a lowered graph is (lower/device_program.h), as plain data.
struct FileDeviceTensor {
  std::string name;
  uint8_t role = 0;
  DType dtype = DType::f16;
  int64_t elements = 0;
  int64_t address = 0;
  std::unique_ptr<FileRecipe> recipe;  // of constants
};

struct FileDeviceStep {
  std::string code;  // the tile program as text; empty: the host computes the node
  std::vector<int> operands;
  uint32_t reads = 0;
  int node = -1;  // a step of the graph
  std::string reason, tiling;
};

// A function lowered for a chip and sizes of its inputs.
struct FileDeviceProgram {
  std::string function;   // its key
  std::string precision;  // of real numbers: "fp16", "fp32"
  int64_t batch = 0;      // that cores were chosen for
  TensorTypes inputs;     // static
  FileGraph graph;        // as it was lowered
  std::vector<FileDeviceTensor> tensors;
  std::vector<FileDeviceStep> steps;
  std::vector<int> input_tensors, output_tensors;
  int64_t peak_bytes = 0;
};

struct FileDeviceSection {
  std::string target;    // the chip
  uint64_t machine = 0;  // hash of its description: programs made for another one are not used
  std::vector<FileDeviceProgram> programs;
  Bytes bytes;  // behind the name, where it was read from a file
};

// The note that says after how many iterations a loop is an error, where the caller does not.
constexpr std::string_view kMaxLoopIterationsNote = "max_loop_iterations";
// The note of a model whose products are to be summed as they stand: no Winograd.
constexpr std::string_view kStrictNote = "strict";
// Notes of this name say which kernels were the fastest on a processor (device/cpu/tuning.h).
constexpr std::string_view kTuningNote = "tuning";

struct FileModel {
  std::string producer;
  std::vector<FileFunction> functions;
  std::vector<std::pair<std::string, std::string>> notes;
  std::vector<FileLibrary> libraries;
  // Programs for chips, one section each. Those that are read have only their target and bytes:
  // read_device_section gives the rest. Sections without programs are not written.
  std::vector<FileDeviceSection> device_sections;
  // What constants stand for that were left packed (ReadOptions).
  std::vector<std::shared_ptr<PackedWeight>> packed;
  // Forms of constants for kernels of the CPU. Those of weights that no constant is are not
  // written; those that are read have their weights as u8.
  std::vector<PrepackedWeight> prepacked;
};

// Deterministic: equal models give equal bytes. Weights are written as they lie, each content once.
Status write_model(const std::string& path, const FileModel& model);
Result<std::vector<std::byte>> encode_model(const FileModel& model);

struct ReadOptions {
  bool verify_weights = true;  // check the checksum of the weights, too; the metadata's always is
  // Constants of steps that are packed in the file stay so: their tensors' memory may be read only
  // after make_dense() of FileModel::packed. Else they are unpacked.
  bool keep_packed = false;
  // The bytes are a mapped file (MappedFile): its pages with weights that are not packed are given
  // back while their checksum is made, so that memory holds those that are read afterwards.
  bool is_mapped = false;
};

// Constants are views into the bytes, but for those the file holds packed. Everything is checked
// before it is trusted. Errors: invalid_model (what and where), unsupported (a newer format: what
// it needs).
Result<FileModel> read_model(Blob file, const ReadOptions& options = {});
Result<FileModel> read_model_file(const std::string& path, const ReadOptions& options = {});

// The programs of one chip in a file; `section` is FileDeviceSection::bytes of what read_model
// gave. Everything but the tile programs themselves is checked. Errors: invalid_model.
Result<FileDeviceSection> read_device_section(Blob file, const std::string& target, Bytes section);

// The outer layer of a file, for `tenon inspect`.
struct FileSection {
  uint32_t kind;
  bool required;  // a reader that does not know the kind must refuse the file
  uint64_t offset, size, hash;
};
struct FileLayout {
  uint16_t major, minor;
  std::vector<FileSection> sections;
};
// Checks the header and the table, not the sections.
Result<FileLayout> read_layout(Bytes file);
// "metadata", "weights"; "unknown" for the kinds this version does not know.
std::string_view section_name(uint32_t kind);

}  // namespace tenon
