#include "import/importer.h"

#include <fmt/format.h>

namespace tenon {

Result<Shape> apply_input_shape(const ImportOptions& options, const std::string& name,
                                const Shape& declared, size_t input_count) {
  for (const auto& [wanted, sizes] : options.input_shapes) {
    const bool same = wanted == name || wanted == name + ":0" || wanted + ":0" == name;
    if (!same && !(wanted.empty() && input_count == 1)) continue;
    const Shape given = Shape::of(sizes);
    const auto merged = merge_shapes(declared, given);
    if (!merged)
      return invalid_argument(
          fmt::format("input '{}' has shape {} in the model, --input-shape says {}", name,
                      declared.to_string(), given.to_string()));
    return *merged;
  }
  return declared;
}

}  // namespace tenon
