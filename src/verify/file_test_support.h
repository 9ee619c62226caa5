// Model files made of a text, run, and damaged: for tests of what they hold.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "encode/encode.h"
#include "format/container.h"
#include "format/model_file.h"
#include "ir/text.h"
#include "runtime/model.h"

namespace tenon::file_test {

inline FileModel model_of(const std::string& text) {
  FileModel model;
  const auto graph = parse_graph(text).value();
  FileFunction& f = model.functions.emplace_back();
  f.key = "f";
  f.graph = encode_graph(*graph);
  for (size_t i = 0; i < graph->inputs().size(); ++i)
    f.input_names.push_back("x" + std::to_string(i));
  for (size_t i = 0; i < graph->outputs().size(); ++i)
    f.output_names.push_back("y" + std::to_string(i));
  return model;
}

inline Blob blob_of(const std::vector<std::byte>& bytes) {
  auto owner = allocate_aligned(bytes.size());
  std::memcpy(owner.get(), bytes.data(), bytes.size());
  return {{owner.get(), bytes.size()}, owner};
}

struct Outcome {
  std::vector<Tensor> outputs;
  int64_t packed_bytes;
  std::vector<PrepackedWeight> prepacked;
};

inline Outcome run(const FileModel& model) {
  const auto loaded = runtime::Model::load(blob_of(encode_model(model).value()), {.threads = 2});
  EXPECT_TRUE(loaded.ok()) << loaded.error().to_string();
  const auto function = loaded->function().value();
  std::vector<Tensor> inputs;
  for (const runtime::PortInfo& port : function.inputs()) {
    inputs.push_back(Tensor::allocate(port.type.dtype, port.type.shape.sizes()).value());
    for (int64_t i = 0; i < inputs.back().elements(); ++i)
      if (port.type.dtype == DType::f32)
        inputs.back().mutable_data<float>()[i] = static_cast<float>(i * 37 % 101) / 64 - 0.7f;
      else if (port.type.dtype == DType::u8)
        inputs.back().mutable_data<uint8_t>()[i] = static_cast<uint8_t>(i * 37);
      else if (port.type.dtype == DType::i64)
        inputs.back().mutable_data<int64_t>()[i] = i;
      else
        inputs.back().mutable_data<bool>()[i] = true;
  }
  runtime::PlanReport report;
  auto outputs = function.run(inputs, {}, &report);
  EXPECT_TRUE(outputs.ok()) << outputs.error().to_string();
  return {std::move(*outputs), report.packed_bytes, loaded->prepacked()};
}

inline void expect_same(const std::vector<Tensor>& a, const std::vector<Tensor>& b,
                        const std::string& what) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(bitwise_equal(a[i], b[i])) << what << " " << i;
}

// The file with `from` in its metadata replaced by `to`, of the same length, and valid checksums.
inline std::vector<std::byte> patched(std::vector<std::byte> file, std::string_view from,
                                      std::string_view to) {
  const auto at = as_text(file).find(from);
  EXPECT_NE(at, std::string_view::npos);
  std::memcpy(file.data() + at, to.data(), to.size());
  container::Header header{};
  std::memcpy(&header, file.data(), sizeof header);
  container::Section section{};
  for (uint32_t i = 0; i < header.section_count; ++i) {
    std::byte* const row = file.data() + sizeof header + i * sizeof section;
    std::memcpy(&section, row, sizeof section);
    section.hash = hash64(Bytes(file).subspan(section.offset, section.size));
    std::memcpy(row, &section, sizeof section);
  }
  std::byte* const hash = file.data() + offsetof(container::Header, header_hash);
  std::memset(hash, 0, sizeof header.header_hash);
  const size_t head = sizeof header + header.section_count * sizeof section;
  header.header_hash = hash64(Bytes(file).first(head));
  std::memcpy(hash, &header.header_hash, sizeof header.header_hash);
  return file;
}

}  // namespace tenon::file_test
