// Tensors in files and how far two of them are apart. Files hold the elements alone, in the type
// that the chip has them in.
// @STATUS@
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

enum class Type { half, bfloat16_t, float_, int8_t, int16_t, int32_t, int64_t, uint8_t };

struct TensorInfo {
  const char* name;
  size_t address, bytes;
  Type type;
};

struct ModelInfo {
  const std::vector<TensorInfo>&inputs, &outputs, &weights;
  size_t memory;
  double tolerance;
};

inline std::vector<uint8_t> ReadFile(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) {
    std::fprintf(stderr, "cannot open %s\n", path.c_str());
    std::exit(1);
  }
  std::vector<uint8_t> bytes;
  uint8_t part[65536];
  for (size_t n; (n = std::fread(part, 1, sizeof part, file)) > 0;)
    bytes.insert(bytes.end(), part, part + n);
  std::fclose(file);
  return bytes;
}

inline void WriteFile(const std::string& path, const std::vector<uint8_t>& bytes) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  const bool written =
      file != nullptr && std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  if (file == nullptr || std::fclose(file) != 0 || !written) {
    std::fprintf(stderr, "cannot write %s\n", path.c_str());
    std::exit(1);
  }
}

inline size_t SizeOf(Type type) {
  switch (type) {
    case Type::int8_t:
    case Type::uint8_t:
      return 1;
    case Type::half:
    case Type::bfloat16_t:
    case Type::int16_t:
      return 2;
    case Type::int64_t:
      return 8;
    default:
      return 4;
  }
}

template <typename T>
double NumberAt(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return static_cast<double>(value);
}
inline double ElementAt(const uint8_t* at, Type type) {
  switch (type) {
    case Type::half: {
      uint16_t bits;
      std::memcpy(&bits, at, sizeof bits);
      const int exponent = bits >> 10 & 31, fraction = bits & 1023;
      const double magnitude = exponent == 0    ? std::ldexp(fraction, -24)
                               : exponent == 31 ? (fraction == 0 ? INFINITY : NAN)
                                                : std::ldexp(1024 + fraction, exponent - 25);
      return (bits & 0x8000) != 0 ? -magnitude : magnitude;
    }
    case Type::bfloat16_t: {
      uint16_t bits;
      std::memcpy(&bits, at, sizeof bits);
      const uint32_t wide = static_cast<uint32_t>(bits) << 16;
      float value;
      std::memcpy(&value, &wide, sizeof value);
      return value;
    }
    case Type::int8_t:
      return NumberAt<int8_t>(at);
    case Type::int16_t:
      return NumberAt<int16_t>(at);
    case Type::int32_t:
      return NumberAt<int32_t>(at);
    case Type::int64_t:
      return NumberAt<int64_t>(at);
    case Type::uint8_t:
      return NumberAt<uint8_t>(at);
    default:
      return NumberAt<float>(at);
  }
}

inline bool IsReal(Type type) {
  return type == Type::half || type == Type::bfloat16_t || type == Type::float_;
}

// |actual - expected| / |expected| in L2; infinite where integers or what is finite differ. Reals
// are expected as floats.
inline double Difference(const std::vector<uint8_t>& actual, Type type,
                         const std::vector<uint8_t>& expected) {
  const size_t size = SizeOf(type), n = actual.size() / size;
  const size_t step = IsReal(type) ? 4 : size;
  if (expected.size() != n * step) return INFINITY;
  double error = 0, norm = 0;
  for (size_t i = 0; i < n; ++i) {
    const double a = ElementAt(&actual[i * size], type);
    const double e = ElementAt(&expected[i * step], IsReal(type) ? Type::float_ : type);
    if (std::isnan(a) && std::isnan(e)) continue;
    if (a == e) {
      if (std::isfinite(e)) norm += e * e;
      continue;
    }
    if (!IsReal(type) || !std::isfinite(a) || !std::isfinite(e)) return INFINITY;
    error += (a - e) * (a - e);
    norm += e * e;
  }
  return norm > 0 ? std::sqrt(error / norm) : std::sqrt(error);
}
