// Functions of a model that are the same but for their names, as exports have them under several
// signatures: what was found for one holds for the others.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "compiler/compile.h"

namespace tenon {

class RepeatedFunctions {
 public:
  struct Found {
    std::string key;  // of the function it was found for
    QuantizationInput input;
  };
  // What was found for an equal one, in the names of this one; none where there is none.
  std::optional<Found> find(const NamedGraph& function) const;
  void add(const NamedGraph& function, const QuantizationInput& input);

 private:
  struct Known {
    std::vector<std::string> names;  // of the tensors, in order
    Found found;
  };
  std::map<std::string, Known> known_;  // by what decides what is found
};

}  // namespace tenon
