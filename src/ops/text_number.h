// Between strings and numbers: printing, parsing, hashing, bytes.
#pragma once

#include "ops/op.h"

namespace tenon {

struct TextFromNumber {
  int64_t precision = -1;
  int64_t width = -1;
  std::string style = "fixed";
  std::string fill;

  static const OpDef def;
  static constexpr std::string_view name = "text_from_number";
  static constexpr std::string_view doc = "Numbers and booleans in decimal.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "precision", &TextFromNumber::precision, "digits behind the point; -1: 6"},
        Field{2, "width", &TextFromNumber::width, "least number of characters"},
        Field{3, "style", &TextFromNumber::style, "of floats: fixed, scientific or shortest"},
        Field{4, "fill", &TextFromNumber::fill, "empty, or one of: space 0 + -"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct NumberFromText {
  DType dtype = DType::f32;

  static const OpDef def;
  static constexpr std::string_view name = "number_from_text";
  static constexpr std::string_view doc = "The numbers that strings spell.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "dtype", &NumberFromText::dtype, "f32, f64, i32 or i64"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct HashBucket {
  int64_t buckets = 1;
  std::vector<int64_t> key;
  bool murmur = false;

  static const OpDef def;
  static constexpr std::string_view name = "hash_bucket";
  static constexpr std::string_view doc =
      "A hash of each string modulo the number of buckets, i64: FarmHash's fingerprint, or SipHash "
      "with a key.";
  static constexpr Arity inputs{1};
  static constexpr auto fields() {
    return std::tuple{Field{1, "buckets", &HashBucket::buckets, "their number; 0: the whole hash"},
                      Field{2, "key", &HashBucket::key, "two integers; empty: no key"},
                      Field{3, "murmur", &HashBucket::murmur, "MurmurHash64A instead"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

struct DecodeRaw {
  DType dtype = DType::u8;
  bool big_endian = false;
  int64_t length = 0;

  static const OpDef def;
  static constexpr std::string_view name = "decode_raw";
  static constexpr std::string_view doc =
      "The bytes of strings of equal length as numbers, in a new last dimension.";
  static constexpr Arity inputs{1};
  static constexpr uint32_t traits = kDataDependent;
  static constexpr auto fields() {
    return std::tuple{
        Field{1, "dtype", &DecodeRaw::dtype, "of the numbers"},
        Field{2, "big_endian", &DecodeRaw::big_endian, "most significant byte first"},
        Field{3, "length", &DecodeRaw::length,
              "cut or filled up with zeros to so many bytes; 0: all are of one length"}};
  }
  Result<TensorTypes> infer(const InferContext& context) const;
  Status eval(EvalContext& context) const;
};

}  // namespace tenon
