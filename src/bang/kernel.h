// A kernel file (.mlu) as read: what its op takes and gives, and the program of one task. It is
// evaluated on the CPU (evaluate.h) and lowered to tile programs for chips
// (lower/custom_kernel.cpp).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bang/builtins.h"
#include "bang/tokens.h"
#include "tensor/dtype.h"

namespace tenon::bang {

// Scalars are integers of 64 bits or reals; pointers know what they point to. The element type
// `none` is the T of a template.
struct Type {
  enum class Kind : uint8_t { nothing, integer, real, pointer };
  Kind kind = Kind::nothing;
  DType element = DType::none;
  bool operator==(const Type&) const = default;
};

enum class Space : uint8_t { gdram, nram, wram, sram };
constexpr int kSpaces = 4;

enum class Op : uint8_t {
  add,
  sub,
  mul,
  div,
  mod,
  less,
  less_equal,
  equal,
  not_equal,
  greater_equal,
  greater,
  both,
  either,
  shift_left,
  shift_right,
  bit_and,
  bit_or,
  bit_xor,
  negate,
  invert,
  bit_not
};

struct Function;

struct Expr {
  enum class Kind : uint8_t {
    integer,
    real,
    size_of,  // of an element
    variable,
    array,
    special,
    unary,
    binary,
    conditional,
    convert,
    load,     // args: pointer, index in elements
    advance,  // args: pointer, distance in elements
    min,
    max,
    call  // of a function of the file
  };
  Kind kind = Kind::integer;
  Op op = Op::add;
  Type type;
  uint32_t at = 0;
  int index = 0;  // of a variable, an array or a Special
  int64_t integer = 0;
  double real = 0;
  const Function* function = nullptr;
  std::vector<Expr> args;

  Expr();
  ~Expr();
  Expr(const Expr& other);
  Expr(Expr&& other) noexcept;
  Expr& operator=(const Expr& other);
  Expr& operator=(Expr&& other) noexcept;
};

// What a task knows of its place.
enum class Special : int { task_id, task_dim, core_id, core_dim, cluster_id, cluster_dim };

struct Statement {
  enum class Kind : uint8_t {
    assign,
    evaluate,
    builtin,
    branch,
    loop,
    give_back,
    leave,
    next,
    block
  };
  Kind kind = Kind::block;
  uint32_t at = 0;
  bool declares = false;       // of assign: the variable begins here
  std::optional<Expr> target;  // of assign: a variable or a load
  std::optional<Expr> value;   // what is assigned, evaluated, given back; the condition
  const Builtin* builtin = nullptr;
  std::vector<Expr> args;        // of a builtin
  std::vector<Statement> body;   // of a branch where the condition holds; of a loop, a block
  std::vector<Statement> other;  // of a branch where not; of a loop what is done after its body

  Statement();
  ~Statement();
  Statement(const Statement& other);
  Statement(Statement&& other) noexcept;
  Statement& operator=(const Statement& other);
  Statement& operator=(Statement&& other) noexcept;
};

struct Variable {
  std::string_view name;
  Type type;
  bool changes = false;  // assigned after it was declared
};

struct Function {
  std::string_view name;
  uint32_t at = 0;
  Type result;
  int parameters = 0;  // the first variables
  std::vector<Variable> variables;
  std::vector<Statement> body;
};

struct Array {
  std::string_view name;
  uint32_t at = 0;
  Space space = Space::nram;
  DType element = DType::none;
  std::vector<Expr> dims;  // constant, but for sizeof(T)
};

// What an op is in a model. Sizes, attributes and derived sizes are its names.
struct Signature {
  struct Name {
    enum class Kind : uint8_t { size, pack, integer, real, derived };
    std::string name;
    Kind kind = Kind::size;
    uint32_t at = 0;
    bool required = false;  // of attributes: no default
    int64_t integer = 0;    // the default
    double real = 0;
    std::optional<Expr> value;  // of derived sizes
  };
  struct Operand {
    std::string name;
    uint32_t at = 0;
    DType dtype = DType::none;  // none: T
    int pack = -1;              // name of the leading dimensions, or -1
    std::vector<Expr> dims;     // after these
  };
  std::string op;  // "domain::Name"
  uint32_t at = 0;
  std::vector<Name> names;
  std::vector<Operand> inputs, outputs;
};

// What an entry's parameter is bound to, by its name.
struct Binding {
  enum class Kind : uint8_t { input, output, name };
  Kind kind = Kind::name;
  int index = 0;
};

struct Kernel {
  Source source;
  Signature signature;
  std::vector<std::unique_ptr<Function>> functions;
  const Function* entry = nullptr;
  std::vector<Binding> bindings;  // of the entry's parameters
  std::vector<Array> arrays;
  bool generic = false;  // the entry is a template of T
};

// Reads a kernel file. Errors: invalid_argument with file:line:column, the line, and what to do.
Result<std::shared_ptr<const Kernel>> parse_kernel(std::string text, std::string file);

// The value of a constant expression where T has elements of this size; nullopt if it is none, or
// divides by zero.
std::optional<int64_t> fold(const Expr& expr, int64_t generic_size);
// The arithmetic of an operator on integers; nullopt for what C leaves open.
std::optional<int64_t> apply(Op op, int64_t a, int64_t b);

}  // namespace tenon::bang
