// A kernel of the user's own (src/bang) as a tile program: its scalar code is evaluated
// symbolically over the block and the loops, what is left are the loops and the instructions on the
// core's memories.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bang/kernel.h"
#include "bang/shape_rule.h"
#include "isa/architecture.h"
#include "isa/program.h"

namespace tenon::lower {

class KernelCompiler {
 public:
  // `generic` is what the template's T is on the chip. A core's shared memory is all a cluster's:
  // kernels that use it run one task a cluster.
  KernelCompiler(const bang::Kernel& kernel, const bang::Sizes& sizes, DType generic,
                 const isa::Architecture& architecture, int64_t clusters);

  // Its buffers are the inputs and outputs that the entry takes, in that order. Errors:
  // unsupported, with the line of the kernel that a chip cannot run.
  Result<isa::Program> run(std::string name);
  // Bytes of each memory of a core that the program uses.
  const std::vector<int64_t>& used() const { return used_; }
  // An error of the program's verifier, with the place in the kernel.
  Error refused(const isa::Program& program, Error error) const;

 private:
  struct Value {
    isa::Expr integer;  // or the byte of the object that a pointer points to
    int object = -1;
    double number = 0;              // of a real,
    std::optional<isa::View> real;  // unless it is an element in NRAM
    bool lost = false;              // an integer that is not known after a loop
  };
  struct Object {
    std::string_view name;
    bang::Space space;
    int buffer = -1;
    int64_t base = 0, bytes = 0;
  };
  // `ended`: what follows is done already, under the condition that it is reached.
  enum class Flow : uint8_t { on, leave, next, give_back, ended };
  using Frame = std::vector<Value>;
  using Body = std::vector<isa::Statement>;

  DType dtype_of(DType element) const { return element == DType::none ? generic_ : element; }
  int64_t size_of(DType element) const {
    return static_cast<int64_t>(dtype_size(dtype_of(element)));
  }
  bool failed() const { return !status_.ok(); }
  void fail(uint32_t at, std::string message);
  void place_objects();
  int64_t allocate(int64_t bytes, bang::Space space, uint32_t at);

  // Control flow (custom_kernel.cpp).
  Value call(const bang::Function& function, Frame arguments, uint32_t at);
  Flow run(std::span<const bang::Statement> body);
  Flow run(const bang::Statement& s);
  Flow branch(const bang::Statement& s, std::span<const bang::Statement> rest);
  void check_leaving(std::span<const bang::Statement> body);
  // Once or not at all. `tail`: nothing follows that is not under the condition.
  void guarded(const isa::Expr& condition, std::span<const bang::Statement> body, bool tail);
  void merge(const isa::Expr& condition, const Frame& then, const Frame& otherwise, uint32_t at);
  void assign(const bang::Statement& s);

  // Loops (custom_kernel_loop.cpp).
  struct Change {
    size_t variable;
    isa::Expr placeholder;
    std::optional<isa::Expr> step =
        std::nullopt;    // per iteration; none: the value is made anew each time
    int64_t period = 0;  // of values that come round: (first + iteration) % period
  };
  Flow loop(const bang::Statement& s);
  bool loop_as_one(const bang::Statement& s);
  Flow run_iteration(const bang::Statement& s);
  // What a trial changes, and is set back to.
  struct State {
    Frame frame;
    Body* out;
    Status status;
    std::vector<int64_t> used;
    std::optional<isa::View> mask;
    size_t places;
    int64_t instructions;
    int variables, conditions;
  };
  State state() const;
  void set_back(State state);
  Flow unroll(const bang::Statement& s);
  std::optional<std::vector<Change>> changes_of(const bang::Statement& s);
  std::optional<isa::Expr> count_of(const bang::Statement& s, const std::vector<Change>& changes);
  Value at_iteration(const Value& first, const Change& change, const isa::Expr& iteration) const;

  // Scalars (custom_kernel_value.cpp).
  Value value(const bang::Expr& e);
  Value unary(const bang::Expr& e);
  Value conditional(const bang::Expr& e);
  Value extreme(const bang::Expr& e);
  Value binary(const bang::Expr& e);
  Value real_binary(const bang::Expr& e, const Value& a, const Value& b);
  isa::Expr integer_binary(const bang::Expr& e, const isa::Expr& a, const isa::Expr& b);
  isa::Expr integer(const bang::Expr& e);
  Value special(bang::Special which) const;
  Value advanced(const bang::Expr& e);
  Value load(const bang::Expr& e);
  void store(const bang::Expr& target, const Value& v);
  isa::View slot(DType dtype, uint32_t at);
  // The real as an element in NRAM of the type.
  isa::View element(const Value& v, DType dtype, uint32_t at);

  // Functions of the language (custom_kernel_calls.cpp).
  void builtin(const bang::Statement& s);
  void copy(const bang::Statement& s);
  void vectors(const bang::Statement& s);
  void compare(const bang::Statement& s, const isa::View& a, const isa::View& b,
               const isa::Expr& count);
  void pool(const bang::Statement& s);
  void product(const bang::Statement& s);
  isa::View view(const Value& pointer, DType dtype, std::vector<isa::Axis> axes) const;
  // An operand of a vector function, with these axes.
  isa::View operand(const bang::Statement& s, size_t i, std::vector<isa::Axis> axes);
  void emit(isa::Opcode op, std::vector<isa::View> views, uint32_t at,
            std::vector<isa::Expr> numbers = {}, double scalar = 0);
  void sync(int queue);
  void append(isa::Instruction instruction, uint32_t at);

  const bang::Kernel& kernel_;
  const bang::Sizes& sizes_;
  DType generic_;
  const isa::Architecture& architecture_;
  int64_t clusters_;
  bool shares_ = false;  // uses the memory of a cluster
  int64_t core_dim_ = 1;
  isa::Program program_;
  Body* out_ = nullptr;
  Status status_;
  std::optional<Error> refused_;  // why a loop is not one of the program's
  std::vector<Object> objects_;
  int first_array_ = 0;
  std::vector<int64_t> used_;  // bytes of each memory
  Frame frame_;
  const bang::Function* function_ = nullptr;
  Value result_;
  // Conditions around what is run: in all, around its function, around its loop; and loops of its
  // function.
  int conditions_ = 0, function_conditions_ = 0, loop_conditions_ = 0, loops_ = 0;
  int64_t steps_ = 0, instructions_ = 0;
  int placeholders_ = 0;
  std::optional<isa::View> mask_;
  std::vector<uint32_t> places_;  // of instructions, by the number in their order
};

// a / divisor, simplified where it divides what a is made of.
isa::Expr divided(const isa::Expr& a, int64_t divisor);
// 1 where a is less than b, else 0.
isa::Expr is_less(const isa::Expr& a, const isa::Expr& b);

}  // namespace tenon::lower
