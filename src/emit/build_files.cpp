#include "emit/build_files.h"

#include <fmt/format.h>

#include <algorithm>

#include "emit/names.h"
#include "emit/simplify.h"

namespace tenon::emit {
namespace {

// What the vendor's compiler calls the core of a chip, by how the chip's name begins.
struct CoreName {
  std::string_view prefix, core;
  bool copies_padded;  // DataCopyPad
};
constexpr CoreName kAscend[] = {{"ascend310p", "dav-2002", false}, {"ascend310b", "dav-3002", true},
                                {"ascend310", "dav-m100", false},  {"ascend910b", "dav-2201", true},
                                {"ascend910", "dav-1001", false},  {"ascend950", "dav-3510", true}};
constexpr CoreName kCambricon[] = {{"mlu220", "mtp_220", false},
                                   {"mlu270", "mtp_270", false},
                                   {"mlu290", "mtp_290", false},
                                   {"mlu370", "mtp_372", false},
                                   {"mlu590", "mtp_592", false}};

template <typename Table>
CoreName core_of(const Table& table, std::string_view name) {
  const auto* found =
      std::ranges::find_if(table, [&](const CoreName& c) { return name.starts_with(c.prefix); });
  return found == std::end(table) ? CoreName{"", "", false} : *found;
}

std::string target_header(const EmitRequest& request, bool ascend) {
  const isa::Architecture& a = request.program->architecture;
  std::string out = fmt::format("// What the cores of {} have.\n// {}\n#pragma once\n\n", a.name,
                                status_text(request.checked));
  for (size_t m = 1; m < a.memories.size(); ++m) {
    std::string name = a.memories[m].name;
    for (char& c : name)
      if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    out += fmt::format("#define TENON_{}_BYTES {}\n", name, a.memories[m].bytes);
  }
  if (ascend)
    out += fmt::format("#define TENON_HAS_DATA_COPY_PAD {}\n",
                       core_of(kAscend, a.name).copies_padded ? "true" : "false");
  return out;
}

// The parts that the scripts of both families have in common.
std::string sources_of(const EmittedModel& model) {
  return model.host.empty() ? "main.cpp layers.cpp" : "main.cpp layers.cpp host_layers.cpp";
}

std::string ascend_build(const EmitRequest& request, const EmittedModel& model) {
  const std::string_view core = core_of(kAscend, request.program->architecture.name).core;
  return fmt::format(
      "#!/bin/sh\n"
      "# Builds ./model with the vendor's compiler, bisheng (or the older ccec, by COMPILER=\"ccec "
      "-x cce\").\n"
      "# Needs CANN: run its set_env.sh first. NPU_ARCH is the chip's core, as the compiler calls "
      "it.\n"
      "set -e\n"
      "cd \"$(dirname \"$0\")\"\n"
      ": \"${{ASCEND_HOME_PATH:?run set_env.sh of CANN first}}\"\n"
      "NPU_ARCH=${{NPU_ARCH:-{}}}\n"
      "COMPILER=${{COMPILER:-bisheng}}\n"
      "mkdir -p build\n"
      "for kernel in kernels/*.asc; do\n"
      "  $COMPILER -O2 -std=c++17 --npu-arch=\"$NPU_ARCH\" -I. -c \"$kernel\" -o "
      "\"build/$(basename \"$kernel\" .asc).o\"\n"
      "done\n"
      "$COMPILER -O2 -std=c++17 --npu-arch=\"$NPU_ARCH\" -I. -I\"$ASCEND_HOME_PATH/include\" {} "
      "build/*.o \\\n"
      "  -L\"$ASCEND_HOME_PATH/lib64\" -lascendcl -o model\n",
      core.empty() ? "dav-2201" : core, sources_of(model));
}

std::string ascend_cmake(const EmitRequest& request, const EmittedModel& model,
                         const std::vector<std::string>& kernels) {
  const std::string_view core = core_of(kAscend, request.program->architecture.name).core;
  std::string list;
  for (const std::string& k : kernels) list += "\n  " + k;
  return fmt::format(
      "# The same as build.sh for CMake; find_package(ASC) comes with CANN.\n"
      "cmake_minimum_required(VERSION 3.16)\n"
      "find_package(ASC REQUIRED)\n"
      "project(model LANGUAGES ASC CXX)\n"
      "add_executable(model {}{})\n"
      "target_include_directories(model PRIVATE ${{CMAKE_CURRENT_SOURCE_DIR}} "
      "$ENV{{ASCEND_HOME_PATH}}/include)\n"
      "target_link_directories(model PRIVATE $ENV{{ASCEND_HOME_PATH}}/lib64)\n"
      "target_link_libraries(model PRIVATE ascendcl)\n"
      "target_compile_options(model PRIVATE $<$<COMPILE_LANGUAGE:ASC>:--npu-arch={}>)\n",
      sources_of(model), list, core.empty() ? "dav-2201" : core);
}

std::string bang_build(const EmitRequest& request, const EmittedModel& model) {
  const std::string_view core = core_of(kCambricon, request.program->architecture.name).core;
  return fmt::format(
      "#!/bin/sh\n"
      "# Builds ./model with the vendor's compiler, cncc. Needs CNToolkit at NEUWARE_HOME.\n"
      "# MLU_ARCH is the chip's core, as the compiler calls it.\n"
      "set -e\n"
      "cd \"$(dirname \"$0\")\"\n"
      "NEUWARE_HOME=${{NEUWARE_HOME:-/usr/local/neuware}}\n"
      "MLU_ARCH=${{MLU_ARCH:-{}}}\n"
      "mkdir -p build\n"
      "for kernel in kernels/*.mlu; do\n"
      "  \"$NEUWARE_HOME/bin/cncc\" -O2 -std=c++11 --bang-mlu-arch=\"$MLU_ARCH\" -I. -c "
      "\"$kernel\" -o \"build/$(basename \"$kernel\" .mlu).o\"\n"
      "done\n"
      "c++ -O2 -std=c++11 -I. -I\"$NEUWARE_HOME/include\" {} build/*.o \\\n"
      "  -L\"$NEUWARE_HOME/lib64\" -lcnrt -lcndrv -lcndev -o model\n",
      core.empty() ? "mtp_372" : core, sources_of(model));
}

std::string check_script(const EmittedModel& model, bool ascend) {
  // Kernels are one translation unit here: the shim's headers are read once.
  return fmt::format(
      "#!/bin/sh\n"
      "# Builds the sources with a host's compiler against shim/ and compares what they compute "
      "with\n"
      "# check/expected. CXX and CXXFLAGS choose the compiler.\n"
      "set -e\n"
      "cd \"$(dirname \"$0\")\"\n"
      "CXX=${{CXX:-c++}}\n"
      "command -v \"${{CXX%% *}}\" >/dev/null || {{ echo \"check.sh: there is no compiler '$CXX'; "
      "set CXX\" >&2; exit 3; }}\n"
      "mkdir -p build/check\n"
      "for kernel in kernels/*.{}; do echo \"#include \\\"../../$kernel\\\"\"; done "
      ">build/check/kernels.cpp\n"
      "$CXX -std=c++17 -O2 ${{CXXFLAGS:-}} -pthread -I. -Ishim build/check/kernels.cpp {} -o "
      "build/check/model\n"
      "build/check/model --check check\n",
      ascend ? "asc" : "mlu", sources_of(model));
}

std::string list_of_files(bool ascend, const EmittedModel& model) {
  std::string out = fmt::format(
      "| File | What it is |\n|---|---|\n"
      "| `kernels/*.{}` | one kernel per fused layer; layers with the same program share one |\n"
      "| `tenon_tiles.h`{} | what the kernels call beside the vendor's functions |\n"
      "| `tenon_target.h` | what a core of the chip has |\n"
      "| `layers.cpp`, `layers.h` | the layers in order; where tensors lie in the chip's memory |\n"
      "| `main.cpp`, `host.h`, `run_model.h`, `files.h` | loads the weights, runs, writes or "
      "compares |\n"
      "| `weights.bin` | the constants as the chip has them, in the order of `main.cpp` |\n"
      "| `build.sh`{} | the vendor's own command lines |\n"
      "| `check.sh`, `shim/`, `check/` | the check on a host |\n",
      ascend ? "asc" : "mlu", ascend ? ", `tile_*.h`" : "", ascend ? ", `CMakeLists.txt`" : "");
  if (!model.host.empty())
    out += "| `host_layers.cpp` | layers that are left to the host, **to be written** |\n";
  return out;
}

std::string limits(const EmitRequest& request, bool ascend) {
  const isa::Architecture& a = request.program->architecture;
  std::string out =
      "\n## What to know\n\n"
      "* Offsets and sizes are those of the tile programs that Tenon simulates for this chip "
      "(`tenon predict --programs`).\n"
      "* Rows that do not begin at a block, compares and selects, and reductions over long rows "
      "are "
      "done by the scalar unit in `tenon_tiles.h`: right, and slow.\n";
  if (ascend) {
    if (!core_of(kAscend, a.name).copies_padded)
      out +=
          "* This chip has no DataCopyPad: rows that are no whole blocks of 32 bytes are copied "
          "element by element.\n";
    if (request.precision == "fp32")
      out +=
          "* Matrices of 4 bytes whose rows lie the other way have no documented load: "
          "`tile::LoadTurned` is for the host alone, and the vendor's compiler refuses it.\n";
  } else {
    out +=
        "* BANG C has no flags between queues: where the program waits for one, the kernel waits "
        "for the queue, so that less runs side by side than Tenon predicts.\n"
        "* Convolutions with pads, dilation or partial sums gather their windows in NRAM "
        "(`tile::Conv`), which Tenon's prediction knows nothing of.\n"
        "* Weights are [co, kh, kw, ci]; the interleaving over the 64 parts of WRAM is not done.\n"
        "* Chips before MLU370 take vectors of multiples of 128 bytes only.\n";
  }
  return out;
}

std::string readme(const EmitRequest& request, const EmittedModel& model, bool ascend) {
  const isa::Architecture& a = request.program->architecture;
  std::string out = fmt::format(
      "# {} in {}\n\n"
      "Model `{}` for {} (`{}`), {}, batch {}: {} kernels for {} layers, written by `tenon "
      "emit`.\n\n"
      "**{}** Nothing here ran on a chip.\n\n{}",
      comment_text(request.model), ascend ? "Ascend C" : "BANG C", comment_text(request.model),
      request.title, a.name, request.precision, request.batch, model.kernels, model.layers,
      status_text(request.checked), list_of_files(ascend, model));
  out += fmt::format(
      "\n## Build and run on the chip\n\n```sh\n./build.sh          # {}\nmkdir -p out\n"
      "./model check/inputs out   # reads NAME.bin of every input, writes NAME.bin of every "
      "output\n"
      "./model --check check      # compares with check/expected\n```\n"
      "\n## Check on a host\n\n```sh\n./check.sh             # or CXX=clang++ ./check.sh\n```\n\n"
      "builds the same sources against `shim/`, which gives the functions that they use their "
      "meaning "
      "on a host, and compares the outputs with those of Tenon's reference (relative L2 within "
      "{}).\n",
      ascend ? "bisheng; CMakeLists.txt does the same" : "cncc", request.tolerance);
  if (!model.host.empty()) {
    out +=
        "\n## Layers left to the host\n\nThe chip does not run these; `host_layers.cpp` has a "
        "function for each, to be written. Until then nothing can be checked.\n\n";
    for (const HostLayer& h : model.host)
      out += fmt::format("* `{}`: {}\n", comment_text(h.name), comment_text(h.reason));
  }
  return out + limits(request, ascend);
}

}  // namespace

std::string_view status_text(bool checked) {
  return checked ? "Status: checked with host shim; not compiled by the vendor's compiler."
                 : "Status: not checked with the host shim; not compiled by the vendor's compiler.";
}

std::vector<EmittedFile> build_files(const EmitRequest& request, const EmittedModel& model,
                                     const std::vector<std::string>& kernels) {
  const bool ascend = request.program->architecture.family == AscendChip::family;
  std::vector<EmittedFile> files{
      {"tenon_target.h", target_header(request, ascend)},
      {"build.sh", ascend ? ascend_build(request, model) : bang_build(request, model)},
      {"check.sh", check_script(model, ascend)},
      {"README.md", readme(request, model, ascend)}};
  if (ascend) files.push_back({"CMakeLists.txt", ascend_cmake(request, model, kernels)});
  return files;
}

}  // namespace tenon::emit
