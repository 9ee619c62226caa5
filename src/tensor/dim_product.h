// Products of dimensions. `Dim * Dim` with a symbol in it is a symbol too (`?4·batch`), the same
// for the same factors in any order.
#pragma once

#include <vector>

#include "tensor/shape.h"

namespace tenon {

// What times `part` is `total`; unknown where it cannot be told.
Dim operator/(Dim total, Dim part);
// The factors of a product: a size, if it is not 1, and symbols.
std::vector<Dim> factors(Dim d);

}  // namespace tenon
