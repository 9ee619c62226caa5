// One tile program as a kernel in a vendor's language: the loops, conditions and comments, which
// both languages have in common; what an instruction is written as, each says itself (ascend_c.h,
// bang_c.h).
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "emit/expressions.h"
#include "emit/places.h"
#include "isa/architecture.h"

namespace tenon::emit {

// A kernel as it stands in the folder.
struct Kernel {
  std::string name;                     // of its function
  std::string tiling;                   // of its struct
  std::string text;                     // of its file, below the head
  std::vector<std::string> parameters;  // one per buffer of the program
};

class KernelWriter {
 public:
  KernelWriter(const isa::Program& program, const isa::Architecture& architecture,
               std::string name);
  virtual ~KernelWriter() = default;
  KernelWriter(const KernelWriter&) = delete;
  KernelWriter& operator=(const KernelWriter&) = delete;

  // Error: unsupported, naming the layer, for an instruction that the language has no form for.
  Result<Kernel> write();

 protected:
  virtual std::string place_name(const Place& place) const = 0;
  virtual std::string place_bytes_name(int memory) const = 0;
  // The lines around the body: the function's head to what stands before the first instruction.
  virtual void open_function(const Kernel& kernel) = 0;
  virtual void close_function(const Kernel& kernel) = 0;
  virtual Status instruction(const isa::Instruction& i) = 0;
  // An operand of a view as calls take it, where the axes' variables say: "xUb[slot * 24]".
  virtual std::string operand(const isa::View& view, const Nest& nest, size_t operand,
                              const std::vector<std::string>& variables) const = 0;
  std::string whole(const isa::View& view) const { return operand(view, {}, 0, {}); }
  // Rows of a table by index, one call of the folder's tile::GatherRow each.
  Status gather(const isa::Instruction& i);
  Status scatter(const isa::Instruction& i);
  // Of both: the rows of a table beside those of a tile, index by index.
  Status rows_by_index(const isa::Instruction& i, const isa::View& tile, const isa::View& table);
  // Where a loop begins and ends, for what the language has to know of it.
  virtual void enter_loop(const isa::Loop&) {}
  virtual void leave_loop(const isa::Loop&) {}
  Error no_form(const isa::Instruction& i, std::string_view what) const;

  template <typename... Args>
  void line(fmt::format_string<Args...> format, Args&&... args) {
    add(fmt::format(format, std::forward<Args>(args)...));
  }
  void add(const std::string& text);

  std::string text(const isa::Expr& e) const { return expressions_.text(e); }
  std::string factor(const isa::Expr& e) const { return expressions_.factor(e); }
  // Opens loops over the axes [0, count) of a nest; returns their variables.
  std::vector<std::string> open_axes(const Nest& nest, size_t count);
  void close_axes(size_t count);
  // Where a view begins, plus the axes' variables times its strides: the index of an element.
  std::string index(const isa::View& view, const Nest& nest, size_t operand,
                    const std::vector<std::string>& variables) const;
  // Buffer or place of a view, for its type.
  std::string base(const isa::View& view) const;
  // Whether every value is a multiple of it.
  bool is_multiple(const isa::Expr& e, int64_t of) const;
  bool is_positive(const isa::Expr& e) const { return range_of(e, ranges_).low > 0; }
  std::string_view memory_name(int memory) const {
    return architecture_.memories[static_cast<size_t>(memory)].name;
  }
  std::string_view queue_name(const isa::Expr& queue) const {
    return architecture_.queues[static_cast<size_t>(queue.value())];
  }

  const isa::Architecture& architecture_;
  std::string name_;
  isa::Program program_;  // simplified
  Places places_;
  Ranges ranges_;
  Names names_;
  std::vector<std::string> buffers_;  // identifiers

 private:
  Status write_body(const std::vector<isa::Statement>& body, bool top);
  Status write_loop(const isa::Loop& loop);
  void comment(const std::vector<isa::Statement>& body, size_t first, bool top);
  std::string tiling_struct(const Kernel& kernel) const;

  Expressions expressions_;
  std::string out_;
  int depth_ = 0, last_queue_ = -1;
};

// What a type is called in both languages; empty for what they lack.
std::string_view type_name(DType dtype);
// A scalar of an instruction as a literal of the type.
std::string scalar_text(double value, DType dtype);
std::string camel_case(std::string_view name);

}  // namespace tenon::emit
