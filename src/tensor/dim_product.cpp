#include "tensor/dim_product.h"

#include <algorithm>
#include <charconv>
#include <string>

namespace tenon {
namespace {

// Between the factors of a product's name.
constexpr std::string_view kTimes = "·";

// The product of a size and symbols.
Dim product_of(int64_t size, const std::vector<Dim>& symbols) {
  constexpr size_t kMaxSymbols = 4;
  if (symbols.empty() || size == 0) return size;
  if (symbols.size() > kMaxSymbols) return Dim::unknown();
  std::vector<std::string_view> names;
  names.reserve(symbols.size());
  for (const Dim s : symbols) names.push_back(s.name());
  std::sort(names.begin(), names.end());
  std::string text = size == 1 ? "" : std::to_string(size);
  for (const std::string_view name : names) {
    if (!text.empty()) text += kTimes;
    text += name;
  }
  return Dim::symbol(text);
}

}  // namespace

std::vector<Dim> factors(Dim d) {
  std::string_view rest = d.name();
  std::vector<Dim> list;
  if (rest.find(kTimes) == std::string_view::npos) {
    if (d != Dim(1)) list.push_back(d);
    return list;
  }
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(kTimes), rest.size());
    const std::string_view factor = rest.substr(0, end);
    int64_t size = 0;
    const auto [stop, error] = std::from_chars(factor.data(), factor.data() + end, size);
    const bool is_size = error == std::errc() && stop == factor.data() + end;
    list.push_back(is_size ? Dim(size) : Dim::symbol(factor));
    rest.remove_prefix(std::min(end + kTimes.size(), rest.size()));
  }
  return list;
}

Dim operator*(Dim a, Dim b) {
  if (a == Dim(0) || b == Dim(0)) return 0;
  int64_t size = 1;
  std::vector<Dim> symbols;
  for (const Dim whole : {a, b})
    for (const Dim d : factors(whole)) {
      if (d.is_symbol())
        symbols.push_back(d);
      else if (!d.known() || __builtin_mul_overflow(size, d.size(), &size))
        return Dim::unknown();
    }
  return product_of(size, symbols);
}

Dim operator/(Dim total, Dim part) {
  int64_t size = 1, by = 1;
  std::vector<Dim> symbols;
  for (const Dim d : factors(total)) {
    if (d.is_symbol())
      symbols.push_back(d);
    else if (!d.known() || __builtin_mul_overflow(size, d.size(), &size))
      return Dim::unknown();
  }
  for (const Dim d : factors(part)) {
    const auto it = std::find(symbols.begin(), symbols.end(), d);
    if (d.is_symbol() && it != symbols.end())
      symbols.erase(it);
    else if (!d.known() || __builtin_mul_overflow(by, d.size(), &by))
      return Dim::unknown();
  }
  return by == 0 || size % by != 0 ? Dim::unknown() : product_of(size / by, symbols);
}

}  // namespace tenon
