// The ONNX importer's door. Reading ONNX is not there yet; the answer says so.
#include "import/importer.h"

namespace tenon::onnx {

Result<ImportedModel> import_onnx(const std::string&, const ImportOptions&) {
  return unsupported("ONNX models cannot be read by this version; use a SavedModel or a GraphDef");
}

Result<ImportedModel> import_onnx(Blob, const ImportOptions&) {
  return unsupported("ONNX models cannot be read by this version; use a SavedModel or a GraphDef");
}

}  // namespace tenon::onnx
