// Tile programs of Cambricon chips as BANG C: the writer, whose parts bang_c.cpp and
// bang_vector.cpp have.
#pragma once

#include <set>

#include "emit/kernel.h"

namespace tenon::emit {

class BangWriter : public KernelWriter {
 public:
  using KernelWriter::KernelWriter;

 protected:
  std::string place_name(const Place& place) const override {
    return place.name + "_" + std::string(memory_name(place.memory));
  }
  std::string place_bytes_name(int memory) const override {
    return std::string(memory_name(memory)) + "_bytes";
  }
  void open_function(const Kernel& kernel) override;
  void close_function(const Kernel& kernel) override;
  Status instruction(const isa::Instruction& i) override;
  // "x_nram + slot * 24 + r * 24".
  std::string operand(const isa::View& view, const Nest& nest, size_t operand,
                      const std::vector<std::string>& variables) const override {
    const std::string at = index(view, nest, operand, variables);
    return at == "0" ? tensor_name(view) : fmt::format("{} + {}", tensor_name(view), at);
  }
  void enter_loop(const isa::Loop& loop) override;
  void leave_loop(const isa::Loop&) override {
    busy_.insert(before_.back().begin(), before_.back().end());
    before_.pop_back();
  }

 private:
  std::string tensor_name(const isa::View& view) const;
  std::string bytes(const std::string& count, DType dtype) const {
    return count == "1" ? fmt::format("sizeof({})", type_name(dtype))
                        : fmt::format("{} * sizeof({})", count, type_name(dtype));
  }

  Status order(const isa::Instruction& i);
  void meet(const std::vector<isa::Statement>& body);
  // Of a memory, to the end of what the program has there.
  int64_t used_bytes(int memory) const;
  int64_t most(const isa::Expr& e) const { return range_of(e, ranges_).high; }
  void wait(std::string_view queue, int index);
  Status copy(const isa::Instruction& i);
  Status convolve(const isa::Instruction& i);
  Status vector(const isa::Instruction& i);
  Status reduce(const isa::Instruction& i);
  bool cycle(const isa::Instruction& i, const Nest& nest);
  std::string plain_call(const isa::Instruction& i, const std::vector<std::string>& o,
                         const std::string& n) const;
  std::string tile_call(const isa::Instruction& i, const std::vector<std::string>& o,
                        const std::string& n) const;

  std::set<int> busy_;                 // queues with something that nobody has waited for
  std::vector<std::set<int>> before_;  // the loops around
};

}  // namespace tenon::emit
