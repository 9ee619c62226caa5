// How a constant of a chip is made of a weight of the model, as data: a file holds the weights
// once, and what each chip wants of them is made when it is loaded.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "lower/pack.h"

namespace tenon::lower {

struct Recipe {
  enum class Kind : uint8_t {
    convert,   // the same elements in another type
    fractals,  // pack_parts of pack_fractals
    rows       // pack_parts of pack_rows
  };
  Kind kind = Kind::convert;
  Tensor source;
  FractalShape shape;  // of fractals and rows
  int64_t groups = 1, planes = 1;
  // m where the filter is transformed for F(m x m, 3 x 3) first, a plane a position; 0: it is not.
  int64_t winograd = 0;
  // Channels of a group where the filter is put on the diagonal first; 0: it is not.
  int64_t diagonal = 0;
};

// Errors: unsupported for types that chips have no constants of.
Result<Tensor> make_constant(const Recipe& recipe, DType to);

// As a file has it. Errors of the way back: invalid_model for what would read beyond the source or
// does not make `elements`.
std::string_view kind_name(Recipe::Kind kind);
std::vector<int64_t> numbers_of(const Recipe& recipe);
Result<Recipe> recipe_of(std::string_view kind, Tensor source, std::span<const int64_t> numbers,
                         int64_t elements);

}  // namespace tenon::lower
