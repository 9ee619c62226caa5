// Tensors of a model as values: typed fields, raw bytes, or a piece of a file beside the model.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "import/onnx/proto.h"
#include "tensor/tensor.h"

namespace tenon::onnx {

// Where the bytes of tensors are: the model's own, and files beside it, which are mapped once.
class TensorSource {
 public:
  // `owner` keeps the decoded bytes alive; an empty folder means there are no files to look for.
  TensorSource(std::shared_ptr<const void> owner, std::string folder)
      : owner_(std::move(owner)), folder_(std::move(folder)) {}

  // The value; a view of the mapped bytes where they are aligned. 4-bit integers are widened to
  // 8 bits. Errors: invalid_model for sizes that do not agree and paths that leave the folder.
  Result<Tensor> value(const TensorProto& proto);
  Result<Tensor> value(const SparseTensorProto& proto);

 private:
  Result<Blob> external(const TensorProto& proto, size_t size);

  std::shared_ptr<const void> owner_;
  std::string folder_;
  std::map<std::string, std::shared_ptr<const MappedFile>> files_;
};

Result<DType> to_dtype(ElementType type);

}  // namespace tenon::onnx
