#include "import/tensorflow/text_schema.h"

#include <array>
#include <utility>

namespace tenon::tf {
namespace {

using enum FieldType;

constexpr FieldSchema kDim[] = {{"size", 1, int_varint}, {"name", 2, text}};
constexpr FieldSchema kShape[] = {{"dim", 2, message, "Dim"}, {"unknown_rank", 3, bool_varint}};
constexpr FieldSchema kTensor[] = {
    {"dtype", 1, enum_varint},           {"tensor_shape", 2, message, "TensorShapeProto"},
    {"version_number", 3, int_varint},   {"tensor_content", 4, text},
    {"float_val", 5, float32},           {"double_val", 6, float64},
    {"int_val", 7, int_varint},          {"string_val", 8, text},
    {"scomplex_val", 9, float32},        {"int64_val", 10, int_varint},
    {"bool_val", 11, bool_varint},       {"dcomplex_val", 12, float64},
    {"half_val", 13, int_varint},        {"resource_handle_val", 14, message, "Any"},
    {"variant_val", 15, message, "Any"}, {"uint32_val", 16, int_varint},
    {"uint64_val", 17, int_varint},      {"float8_val", 18, text},
};
constexpr FieldSchema kList[] = {
    {"s", 2, text},
    {"i", 3, int_varint},
    {"f", 4, float32},
    {"b", 5, bool_varint},
    {"type", 6, enum_varint},
    {"shape", 7, message, "TensorShapeProto"},
    {"tensor", 8, message, "TensorProto"},
    {"func", 9, message, "NameAttrList"},
};
constexpr FieldSchema kAttrValue[] = {
    {"list", 1, message, "ListValue"},
    {"s", 2, text},
    {"i", 3, int_varint},
    {"f", 4, float32},
    {"b", 5, bool_varint},
    {"type", 6, enum_varint},
    {"shape", 7, message, "TensorShapeProto"},
    {"tensor", 8, message, "TensorProto"},
    {"placeholder", 9, text},
    {"func", 10, message, "NameAttrList"},
};
constexpr FieldSchema kAttrEntry[] = {{"key", 1, text}, {"value", 2, message, "AttrValue"}};
constexpr FieldSchema kNameAttrList[] = {{"name", 1, text}, {"attr", 2, message, "AttrEntry"}};
constexpr FieldSchema kNode[] = {
    {"name", 1, text},
    {"op", 2, text},
    {"input", 3, text},
    {"device", 4, text},
    {"attr", 5, message, "AttrEntry"},
    {"experimental_debug_info", 6, message, "Any"},
    {"experimental_type", 7, message, "Any"},
};
constexpr FieldSchema kVersions[] = {
    {"producer", 1, int_varint}, {"min_consumer", 2, int_varint}, {"bad_consumers", 3, int_varint}};
constexpr FieldSchema kGraph[] = {
    {"node", 1, message, "NodeDef"},   {"library", 2, message, "FunctionDefLibrary"},
    {"version", 3, int_varint},        {"versions", 4, message, "VersionDef"},
    {"debug_info", 5, message, "Any"},
};
constexpr FieldSchema kLibrary[] = {{"function", 1, message, "FunctionDef"},
                                    {"gradient", 2, message, "Any"},
                                    {"registered_gradients", 3, message, "Any"}};
constexpr FieldSchema kFunction[] = {
    {"signature", 1, message, "OpDef"},
    {"node_def", 3, message, "NodeDef"},
    {"ret", 4, message, "TextEntry"},
    {"attr", 5, message, "AttrEntry"},
    {"control_ret", 6, message, "TextEntry"},
    {"arg_attr", 7, message, "Any"},
    {"resource_arg_unique_id", 8, message, "Any"},
};
constexpr FieldSchema kTextEntry[] = {{"key", 1, text}, {"value", 2, text}};
constexpr FieldSchema kOpDef[] = {{"name", 1, text},
                                  {"input_arg", 2, message, "ArgDef"},
                                  {"output_arg", 3, message, "ArgDef"},
                                  {"control_output", 20, text}};
constexpr FieldSchema kArgDef[] = {{"name", 1, text},           {"type", 3, enum_varint},
                                   {"type_attr", 4, text},      {"number_attr", 5, text},
                                   {"type_list_attr", 6, text}, {"is_ref", 16, bool_varint}};
constexpr FieldSchema kSavedModel[] = {{"saved_model_schema_version", 1, int_varint},
                                       {"meta_graphs", 2, message, "MetaGraphDef"}};
constexpr FieldSchema kMetaGraph[] = {
    {"meta_info_def", 1, message, "MetaInfoDef"},
    {"graph_def", 2, message, "GraphDef"},
    {"saver_def", 3, message, "SaverDef"},
    {"collection_def", 4, message, "CollectionEntry"},
    {"signature_def", 5, message, "SignatureEntry"},
    {"asset_file_def", 6, message, "AssetFileDef"},
    {"object_graph_def", 7, message, "SavedObjectGraph"},
};
constexpr FieldSchema kMetaInfo[] = {
    {"tags", 4, text}, {"tensorflow_version", 5, text}, {"tensorflow_git_version", 6, text}};
constexpr FieldSchema kSaver[] = {
    {"filename_tensor_name", 1, text}, {"save_tensor_name", 2, text},
    {"restore_op_name", 3, text},      {"max_to_keep", 4, int_varint},
    {"sharded", 5, bool_varint},       {"keep_checkpoint_every_n_hours", 6, float32},
    {"version", 7, enum_varint}};
constexpr FieldSchema kCollectionEntry[] = {{"key", 1, text},
                                            {"value", 2, message, "CollectionDef"}};
constexpr FieldSchema kCollection[] = {{"node_list", 1, message, "TextList"},
                                       {"bytes_list", 2, message, "TextList"}};
constexpr FieldSchema kTextList[] = {{"value", 1, text}};
constexpr FieldSchema kSignatureEntry[] = {{"key", 1, text}, {"value", 2, message, "SignatureDef"}};
constexpr FieldSchema kSignature[] = {{"inputs", 1, message, "TensorInfoEntry"},
                                      {"outputs", 2, message, "TensorInfoEntry"},
                                      {"method_name", 3, text}};
constexpr FieldSchema kTensorInfoEntry[] = {{"key", 1, text}, {"value", 2, message, "TensorInfo"}};
constexpr FieldSchema kTensorInfo[] = {{"name", 1, text},
                                       {"dtype", 2, enum_varint},
                                       {"tensor_shape", 3, message, "TensorShapeProto"},
                                       {"coo_sparse", 4, message, "CooSparse"},
                                       {"composite_tensor", 5, message, "CompositeTensor"}};
constexpr FieldSchema kCooSparse[] = {{"values_tensor_name", 1, text},
                                      {"indices_tensor_name", 2, text},
                                      {"dense_shape_tensor_name", 3, text}};
constexpr FieldSchema kCompositeTensor[] = {{"type_spec", 1, message, "Any"},
                                            {"components", 2, message, "TensorInfo"}};
constexpr FieldSchema kAssetFile[] = {{"tensor_info", 1, message, "TensorInfo"},
                                      {"filename", 2, text}};
constexpr FieldSchema kObjectGraph[] = {{"nodes", 1, message, "SavedObject"}};
constexpr FieldSchema kSavedObject[] = {{"children", 1, message, "ObjectReference"},
                                        {"user_object", 4, message, "Any"},
                                        {"asset", 5, message, "SavedAsset"},
                                        {"function", 6, message, "Any"},
                                        {"variable", 7, message, "SavedVariable"},
                                        {"constant", 9, message, "SavedConstant"},
                                        {"resource", 10, message, "Any"}};
constexpr FieldSchema kObjectReference[] = {{"node_id", 1, int_varint}, {"local_name", 2, text}};
constexpr FieldSchema kSavedAsset[] = {{"asset_file_def_index", 1, int_varint}};
constexpr FieldSchema kSavedVariable[] = {{"dtype", 1, enum_varint},
                                          {"shape", 2, message, "TensorShapeProto"},
                                          {"trainable", 3, bool_varint},
                                          {"name", 6, text}};
constexpr FieldSchema kSavedConstant[] = {{"operation", 1, text}};

constexpr MessageSchema kMessages[] = {
    {"Any", {}, true},
    {"Dim", kDim},
    {"TensorShapeProto", kShape},
    {"TensorProto", kTensor},
    {"ListValue", kList},
    {"AttrValue", kAttrValue},
    {"AttrEntry", kAttrEntry},
    {"NameAttrList", kNameAttrList},
    {"NodeDef", kNode},
    {"VersionDef", kVersions},
    {"GraphDef", kGraph},
    {"FunctionDefLibrary", kLibrary},
    {"FunctionDef", kFunction},
    {"TextEntry", kTextEntry},
    {"OpDef", kOpDef, true},
    {"ArgDef", kArgDef, true},
    {"SavedModel", kSavedModel},
    {"MetaGraphDef", kMetaGraph},
    {"MetaInfoDef", kMetaInfo, true},
    {"SaverDef", kSaver},
    {"CollectionEntry", kCollectionEntry},
    {"CollectionDef", kCollection, true},
    {"TextList", kTextList},
    {"SignatureEntry", kSignatureEntry},
    {"SignatureDef", kSignature, true},
    {"TensorInfoEntry", kTensorInfoEntry},
    {"TensorInfo", kTensorInfo},
    {"CooSparse", kCooSparse},
    {"CompositeTensor", kCompositeTensor},
    {"AssetFileDef", kAssetFile},
    {"SavedObjectGraph", kObjectGraph, true},
    {"SavedObject", kSavedObject, true},
    {"ObjectReference", kObjectReference},
    {"SavedAsset", kSavedAsset, true},
    {"SavedVariable", kSavedVariable, true},
    {"SavedConstant", kSavedConstant, true},
};

constexpr std::pair<std::string_view, int64_t> kEnumValues[] = {
    {"DT_INVALID", 0},
    {"DT_FLOAT", 1},
    {"DT_DOUBLE", 2},
    {"DT_INT32", 3},
    {"DT_UINT8", 4},
    {"DT_INT16", 5},
    {"DT_INT8", 6},
    {"DT_STRING", 7},
    {"DT_COMPLEX64", 8},
    {"DT_INT64", 9},
    {"DT_BOOL", 10},
    {"DT_QINT8", 11},
    {"DT_QUINT8", 12},
    {"DT_QINT32", 13},
    {"DT_BFLOAT16", 14},
    {"DT_QINT16", 15},
    {"DT_QUINT16", 16},
    {"DT_UINT16", 17},
    {"DT_COMPLEX128", 18},
    {"DT_HALF", 19},
    {"DT_RESOURCE", 20},
    {"DT_VARIANT", 21},
    {"DT_UINT32", 22},
    {"DT_UINT64", 23},
    {"DT_FLOAT8_E5M2", 24},
    {"DT_FLOAT8_E4M3FN", 25},
    {"DT_INT4", 29},
    {"DT_UINT4", 30},
    {"LEGACY", 0},
    {"V1", 1},
    {"V2", 2},
};

}  // namespace

const MessageSchema* find_message_schema(std::string_view name) {
  for (const MessageSchema& schema : kMessages)
    if (schema.name == name) return &schema;
  return nullptr;
}

bool find_enum_value(std::string_view name, int64_t& value) {
  constexpr std::string_view kRef = "_REF";
  const bool reference = name.ends_with(kRef);
  if (reference) name.remove_suffix(kRef.size());
  for (const auto& [known, number] : kEnumValues) {
    if (known == name) {
      value = number + (reference ? 100 : 0);
      return true;
    }
  }
  return false;
}

}  // namespace tenon::tf
