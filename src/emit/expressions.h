// Integers of a tile program as C++: what occurs again and again gets a name where all it is made
// of is known.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "emit/names.h"
#include "emit/places.h"
#include "isa/program.h"

namespace tenon::emit {

class Expressions {
 public:
  // Of a program that is simplified. `names` are taken already.
  Expressions(const isa::Program& program, const Places& places, Names& names);

  std::string text(const isa::Expr& e) const { return print(e, 0); }
  // With brackets where it is not a number or a name: to be a factor.
  std::string factor(const isa::Expr& e) const { return print(e, 2); }
  std::string variable(int index) const;

  // "const int32_t rows = …;" for what is named where this loop variable is known; 0: at the top.
  std::vector<std::string> declarations(int variable) const;
  // The type of all integers of the kernel.
  std::string_view type() const { return type_; }

 private:
  struct Use {
    isa::Expr expr;
    int times = 0;
    size_t operations = 0;
    std::string hint, name;
  };
  void visit(const std::vector<isa::Statement>& body);
  void visit(const isa::Instruction& instruction);
  size_t visit(const isa::Expr& e, const std::string& hint);
  void choose_names(Names& names);
  std::string print(const isa::Expr& e, int outer, bool named = true) const;

  const Places& places_;
  std::map<std::string, Use> uses_;
  std::vector<const Use*> named_;  // what others are made of first
  std::string_view type_ = "int32_t";
};

}  // namespace tenon::emit
