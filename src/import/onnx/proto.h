// The messages of an ONNX file as far as the importer reads them. Text and tensor bytes are views
// into the decoded bytes, which must outlive the structs.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace tenon::onnx {

// TensorProto.DataType.
enum class ElementType : int32_t {
  undefined = 0,
  f32 = 1,
  u8 = 2,
  i8 = 3,
  u16 = 4,
  i16 = 5,
  i32 = 6,
  i64 = 7,
  string = 8,
  boolean = 9,
  f16 = 10,
  f64 = 11,
  u32 = 12,
  u64 = 13,
  complex64 = 14,
  complex128 = 15,
  bf16 = 16,
  f8e4m3fn = 17,
  f8e4m3fnuz = 18,
  f8e5m2 = 19,
  f8e5m2fnuz = 20,
  u4 = 21,
  i4 = 22,
  f4e2m1 = 23,
  f8e8m0 = 24,
  u2 = 25,
  i2 = 26,
};

struct TensorProto {
  std::string_view name;
  ElementType type = ElementType::undefined;
  std::vector<int64_t> dims;
  Bytes raw;
  bool has_raw = false;
  // Values of the typed fields: float_data (also complex), double_data, int32_data, int64_data,
  // uint64_data.
  std::vector<float> floats;
  std::vector<double> doubles;
  std::vector<int32_t> ints32;
  std::vector<int64_t> ints64;
  std::vector<uint64_t> uints64;
  std::vector<std::string_view> strings;
  bool external = false;
  std::vector<std::pair<std::string_view, std::string_view>> external_data;
};

struct SparseTensorProto {
  TensorProto values;
  TensorProto indices;
  std::vector<int64_t> dims;
};

// A dimension: a value, a name, or neither.
struct DimProto {
  bool has_value = false;
  int64_t value = 0;
  std::string_view param;
};

enum class TypeKind : uint8_t { none, tensor, sequence, optional, map, sparse, opaque };

struct TypeProto {
  TypeKind kind = TypeKind::none;
  ElementType element = ElementType::undefined;  // of maps: of their keys
  bool has_shape = false;
  std::vector<DimProto> dims;
  std::vector<TypeProto> inner;  // of sequences, optionals and the values of maps: one
};

struct ValueInfoProto {
  std::string_view name;
  TypeProto type;
};

// AttributeProto.AttributeType.
enum class AttrType : int32_t {
  undefined = 0,
  real = 1,
  integer = 2,
  string = 3,
  tensor = 4,
  graph = 5,
  reals = 6,
  integers = 7,
  strings = 8,
  tensors = 9,
  graphs = 10,
  sparse_tensor = 11,
  sparse_tensors = 12,
  type = 13,
  types = 14,
};

struct GraphProto;

struct AttributeProto {
  std::string_view name;
  std::string_view ref;  // in a function's body: the attribute of the call that it takes
  AttrType type = AttrType::undefined;
  float real = 0;
  int64_t integer = 0;
  std::string_view string;
  std::vector<float> reals;
  std::vector<int64_t> integers;
  std::vector<std::string_view> strings;
  std::vector<TensorProto> tensors;  // one for type tensor
  std::vector<SparseTensorProto> sparse_tensors;
  std::vector<GraphProto> graphs;  // one for type graph
  std::vector<TypeProto> types;
};

struct NodeProto {
  std::string_view name;
  std::string_view op;
  std::string_view domain;
  std::string_view overload;
  std::vector<std::string_view> inputs;  // empty: an optional one that is absent
  std::vector<std::string_view> outputs;
  std::vector<AttributeProto> attrs;
};

struct GraphProto {
  std::string_view name;
  std::vector<NodeProto> nodes;
  std::vector<TensorProto> initializers;
  std::vector<SparseTensorProto> sparse_initializers;  // named by their values
  std::vector<ValueInfoProto> inputs;
  std::vector<ValueInfoProto> outputs;
  std::vector<ValueInfoProto> value_infos;
};

struct OperatorSetId {
  std::string_view domain;
  int64_t version = 0;
};

struct FunctionProto {
  std::string_view name;
  std::string_view domain;
  std::string_view overload;
  std::vector<std::string_view> inputs;
  std::vector<std::string_view> outputs;
  std::vector<std::string_view> attributes;      // without a default
  std::vector<AttributeProto> attribute_protos;  // with one
  std::vector<NodeProto> nodes;
  std::vector<OperatorSetId> opsets;
};

struct ModelProto {
  int64_t ir_version = 0;
  std::string_view producer;
  std::vector<OperatorSetId> opsets;
  GraphProto graph;
  std::vector<FunctionProto> functions;
};

// Errors: invalid_model with the byte offset where the bytes stop making sense.
Result<ModelProto> decode_model(Bytes bytes);

}  // namespace tenon::onnx
