// The .tenon file: a compiled model as plain data, its writer and its reader. Shared by compiler
// and runtime; knows no graph IR. The layout is described in docs/file_format.md.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "ops/op.h"

namespace tenon {

constexpr uint16_t kFormatMajor = 1;  // a reader refuses files of a newer major version
constexpr uint16_t kFormatMinor = 1;  // and reads any minor one

struct FileValue {
  TensorType type;
  std::string name;
};

struct FileConstant {
  int value;
  Tensor tensor;
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

// The note that says after how many iterations a loop is an error, where the caller does not.
constexpr std::string_view kMaxLoopIterationsNote = "max_loop_iterations";
// Notes of this name say which kernels were the fastest on a processor (device/cpu/tuning.h).
constexpr std::string_view kTuningNote = "tuning";

struct FileModel {
  std::string producer;
  std::vector<FileFunction> functions;
  std::vector<std::pair<std::string, std::string>> notes;
  std::vector<FileLibrary> libraries;
};

// Deterministic: equal models give equal bytes. Weights are written as they lie, each content once.
Status write_model(const std::string& path, const FileModel& model);
Result<std::vector<std::byte>> encode_model(const FileModel& model);

struct ReadOptions {
  bool verify_weights = true;  // check the checksum of the weights, too; the metadata's always is
};

// Constants are views into the bytes. Everything is checked before it is trusted. Errors:
// invalid_model (what and where), unsupported (a newer format: what it needs).
Result<FileModel> read_model(Blob file, const ReadOptions& options = {});
Result<FileModel> read_model_file(const std::string& path, const ReadOptions& options = {});

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
