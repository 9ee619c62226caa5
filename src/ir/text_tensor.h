// Constants in the text form: literals, splats, random values, and data by content hash.
#pragma once

#include <map>

#include "tensor/tensor.h"
#include "tensor/text_lexer.h"

namespace tenon::text {

// The data of large constants by content hash.
using TensorData = std::map<uint64_t, Tensor>;

// The literal of a tensor, without its type. Large ones are added to `large` and shown by hash.
std::string literal_text(const Tensor& tensor, TensorData& large);
// "data #hash "base64…"" lines.
std::string data_text(const TensorData& data);

class LiteralParser {
 public:
  // Finds the data lines of the text (each begins a line) before anything else is parsed.
  explicit LiteralParser(std::string_view text);

  // Reads the literal that begins here as a tensor of this type.
  Result<Tensor> parse(Lexer& lexer, const TensorType& type);
  // Moves past a literal whose type stands after it.
  static Status skip(Lexer& lexer);
  // Reads "data #hash "…"" where the graphs are parsed; its content was found before.
  static Status skip_data(Lexer& lexer);

 private:
  Result<Tensor> parse_at(Lexer& lexer, const TensorType& type, int depth);
  Result<Tensor> dense(Lexer& lexer, const TensorType& type);
  Result<Tensor> generated(Lexer& lexer, const TensorType& type, bool random);
  Result<Tensor> stored(Lexer& lexer, const TensorType& type);

  std::map<std::string_view, std::string_view> data_;  // base64 by hash, as written
  std::map<std::string_view, Tensor> stored_;          // decoded once, shared by all uses
  int64_t generated_bytes_ = 0;
};

}  // namespace tenon::text
