#include "lower/recipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "lower/winograd.h"

namespace tenon::lower {
namespace {

constexpr std::array<std::string_view, 3> kNames{"convert", "fractals", "rows"};
constexpr int64_t kLargest = int64_t{1} << 36;

// a * b, or kLargest where it is more; neither is negative.
int64_t product(std::initializer_list<int64_t> factors) {
  int64_t n = 1;
  for (const int64_t f : factors) {
    if (f == 0) return 0;
    if (n > kLargest / f) return kLargest;
    n *= f;
  }
  return n;
}

}  // namespace

Result<Tensor> make_constant(const Recipe& recipe, DType to) {
  Recipe r = recipe;
  if (r.winograd != 0) r.source = TRY(winograd_filter(r.source, r.winograd));
  if (r.diagonal != 0) r.source = TRY(put_on_diagonal(r.source, r.diagonal));
  switch (r.kind) {
    case Recipe::Kind::fractals:
      return pack_parts(r.source, r.shape, r.groups, r.planes, to, pack_fractals);
    case Recipe::Kind::rows:
      return pack_parts(r.source, r.shape, r.groups, r.planes, to, pack_rows);
    case Recipe::Kind::convert:
      break;
  }
  return converted(r.source, to);
}

std::string_view kind_name(Recipe::Kind kind) {
  return kNames[static_cast<size_t>(kind)];
}

std::vector<int64_t> numbers_of(const Recipe& r) {
  if (r.kind == Recipe::Kind::convert)
    return r.winograd == 0 ? std::vector<int64_t>() : std::vector<int64_t>{r.winograd};
  const FractalShape& s = r.shape;
  std::vector<int64_t> numbers{s.kernel_h, s.kernel_w, s.channels, s.columns, s.transposed ? 1 : 0,
                               s.k0,       s.n0,       r.groups,   r.planes,  r.winograd};
  if (r.diagonal != 0) numbers.push_back(r.diagonal);
  return numbers;
}

Result<Recipe> recipe_of(std::string_view kind, Tensor source, std::span<const int64_t> numbers,
                         int64_t elements) {
  const auto damaged = [&] {
    return invalid_model(fmt::format("a constant of {} elements cannot be made as '{}' of {}",
                                     elements, kind, source.type().to_string()));
  };
  const auto found = std::ranges::find(kNames, kind);
  if (found == kNames.end() || !source.defined() || source.dtype() == DType::string ||
      source.is_list() || is_complex(source.dtype()))
    return damaged();
  Recipe r;
  r.kind = static_cast<Recipe::Kind>(found - kNames.begin());
  const bool convert = r.kind == Recipe::Kind::convert;
  if (convert ? numbers.size() > 1 : numbers.size() != 10 && numbers.size() != 11) return damaged();
  int64_t available = source.elements();
  if (!numbers.empty()) r.winograd = numbers[convert ? 0 : 9];
  r.diagonal = numbers.size() == 11 ? numbers[10] : 0;
  if (r.winograd != 0) {
    if ((r.winograd != 2 && r.winograd != 4) || source.rank() != 4 || source.dim(0) != 3 ||
        source.dim(1) != 3)
      return damaged();
    const int64_t reach = winograd_reach(r.winograd);
    available = product({reach, reach, source.dim(2), source.dim(3)});
  }
  if (r.diagonal != 0) {
    if (r.winograd != 0 || r.diagonal < 0 || r.diagonal > 1024 || source.rank() < 3 ||
        source.dim(source.rank() - 2) != 1 || source.dim(source.rank() - 1) % r.diagonal != 0)
      return damaged();
    available = product({available, r.diagonal});
  }
  if (convert) {
    if (available != elements) return damaged();
    r.source = std::move(source);
    return r;
  }
  for (const int64_t n : numbers)
    if (n < 0 || n > kLargest) return damaged();
  FractalShape& s = r.shape;
  s.kernel_h = numbers[0], s.kernel_w = numbers[1], s.channels = numbers[2], s.columns = numbers[3],
  s.transposed = numbers[4] != 0, s.k0 = numbers[5], s.n0 = numbers[6];
  r.groups = numbers[7], r.planes = numbers[8];
  if (s.k0 < 1 || s.n0 < 1 || r.groups < 1 || r.planes < 1 || s.k0 > 1024 || s.n0 > 1024)
    return damaged();
  // What is read is just what there is; a transposed matrix has one position and one part.
  if (s.transposed && product({s.kernel_h, s.kernel_w, r.groups, r.planes}) != 1) return damaged();
  if (product({s.kernel_h, s.kernel_w, s.channels, s.columns, r.groups, r.planes}) != available)
    return damaged();
  const int64_t parts = product({r.groups, r.planes});
  const bool fractals = r.kind == Recipe::Kind::fractals;
  const int64_t each = fractals ? product({(s.channels + s.k0 - 1) / s.k0, s.kernel_h, s.kernel_w,
                                           (s.columns + s.n0 - 1) / s.n0, s.n0, s.k0})
                                : product({s.kernel_h, s.kernel_w, s.channels, s.columns});
  if (product({parts, each}) != elements) return damaged();
  r.source = std::move(source);
  return r;
}

}  // namespace tenon::lower
