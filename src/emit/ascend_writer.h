// The writer of Ascend C, in parts: movement and the cube (ascend_c.cpp), the vector unit
// (ascend_vector.cpp).
#pragma once

#include "emit/kernel.h"

namespace tenon::emit {

constexpr int64_t kAscendBlock = 32;  // bytes that the vector unit and DMA work in

class AscendWriter : public KernelWriter {
 public:
  using KernelWriter::KernelWriter;

 protected:
  std::string place_name(const Place& place) const override {
    return camel_lower(place.name) + camel_case(memory_name(place.memory));
  }
  std::string place_bytes_name(int memory) const override {
    return std::string(memory_name(memory)) + "Bytes";
  }
  void open_function(const Kernel& kernel) override;
  void close_function(const Kernel& kernel) override;
  Status instruction(const isa::Instruction& i) override;
  // "xUb[slot * 24 + r * 24]".
  std::string operand(const isa::View& view, const Nest& nest, size_t operand,
                      const std::vector<std::string>& variables) const override;

 private:
  static std::string camel_lower(const std::string& name) {
    std::string out = camel_case(name);
    if (!out.empty() && out[0] >= 'A' && out[0] <= 'Z') out[0] = static_cast<char>(out[0] + 32);
    return out;
  }
  std::string tensor_name(const isa::View& view) const;

  Status order(const isa::Instruction& i);
  Status move(const isa::Instruction& i);
  Status copy(const isa::Instruction& i);
  Status rows(const isa::Instruction& i, std::string_view call);
  Status fractals(const isa::Instruction& i);
  Status results(const isa::Instruction& i);
  Status img2col(const isa::Instruction& i);
  Status multiply(const isa::Instruction& i);
  Status vector(const isa::Instruction& i);
  Status reduce(const isa::Instruction& i);
  bool is_aligned(const isa::View& view, const Nest& nest, size_t operand, size_t axes) const;
  std::string vector_call(const isa::Instruction& i, const std::vector<std::string>& operands,
                          const std::string& n, bool plain) const;
};

}  // namespace tenon::emit
