// What a program keeps in the memories of a core, as named places: what is in one slot of a ring,
// or surely overlaps, is one place, and goes by what is copied there or computed first.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "emit/names.h"
#include "emit/simplify.h"
#include "isa/architecture.h"

namespace tenon::emit {

struct Place {
  int memory = 0;
  int64_t offset = 0, bytes = 0;  // may reach into the next one, where that is not known
  std::string name;               // without what the language adds for the memory
  std::vector<DType> dtypes;      // it is used as, the first first
};

class Places {
 public:
  // `program` as it was lowered, which shows its rings; `shown` as it will be written.
  Places(const isa::Program& program, const isa::Program& shown,
         const isa::Architecture& architecture);

  const std::vector<Place>& all() const { return places_; }
  // The place of a view in a memory of a core, and where the view begins there, in its elements.
  struct Position {
    size_t place;
    isa::Expr offset;
  };
  Position position(const isa::View& view) const;

 private:
  // What begins at one constant offset.
  struct Start {
    int64_t slot = 0;   // bytes from one to the next, where it is one of a few
    int64_t least = 0;  // bytes that are surely used
    int64_t most = 0;
  };
  void collect(const std::vector<isa::Statement>& body, const Ranges& ranges);
  void join();
  void name(const std::vector<isa::Statement>& body);
  void name(const isa::Instruction& instruction);

  const isa::Program& shown_;
  std::map<std::pair<int, int64_t>, Start> starts_;  // by memory and offset
  std::map<std::pair<int, int64_t>, size_t> place_of_;
  std::vector<Place> places_;
};

}  // namespace tenon::emit
