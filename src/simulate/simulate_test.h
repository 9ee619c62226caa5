// Small tile programs over literal data.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "isa/check_program.h"
#include "isa/parse_program.h"
#include "simulate/run_program.h"

namespace tenon::simulate {

inline const isa::Architecture& chip(const std::string& name) {
  static std::vector<isa::Architecture> known;
  for (const auto& a : known)
    if (a.name == name) return a;
  const MachineCatalog catalog = MachineCatalog::load().value();
  known.reserve(16);
  known.push_back(isa::architecture_of(**catalog.find(name)));
  return known.back();
}

using Bytes = std::vector<std::byte>;

template <typename T>
Bytes bytes_of(const std::vector<T>& values) {
  Bytes b(values.size() * sizeof(T));
  std::memcpy(b.data(), values.data(), b.size());
  return b;
}

template <typename T>
std::vector<T> values_of(const Bytes& b) {
  std::vector<T> values(b.size() / sizeof(T));
  std::memcpy(values.data(), b.data(), b.size());
  return values;
}

inline std::vector<Half> halves(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}
inline std::vector<float> floats(const std::vector<Half>& values) {
  std::vector<float> out;
  out.reserve(values.size());
  for (const Half h : values) out.push_back(static_cast<float>(h));
  return out;
}

// Small integers over 8, exact in every type.
inline std::vector<float> random_values(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& v : values) v = (static_cast<float>(random() % 65) - 32) / 8;
  return values;
}

// Runs "program t target=TARGET blocks=N {" BODY "}" after the verifier let it pass; the buffers
// after those given, and shorter ones, are filled up with zeros.
inline Status run_text(const std::string& target, const std::string& body, std::vector<Bytes>& data,
                       int64_t blocks = 1, ThreadPool* pool = nullptr) {
  const auto program = TRY(isa::parse_program(
      "program t target=" + target + " blocks=" + std::to_string(blocks) + " {\n" + body + "\n}\n",
      chip(target), "test"));
  TRY(isa::check_program(program, chip(target)));
  data.resize(program.buffers.size());
  std::vector<GlobalBuffer> buffers;
  for (size_t i = 0; i < data.size(); ++i) {
    data[i].resize(static_cast<size_t>(program.buffers[i].elements) *
                   dtype_size(program.buffers[i].dtype));
    buffers.push_back({data[i]});
  }
  return run_program(program, chip(target), buffers, {.pool = pool});
}

}  // namespace tenon::simulate
