// TensorFlow's messages as plain structs: only the fields the importer reads, under their public
// field numbers. Text and tensor bytes are views into the file (or the buffer made from a text
// file), which the caller keeps alive; attribute values stay encoded until they are asked for.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace tenon::tf {

// The numbers are TensorFlow's. A reference type (VariableV2's output) is its base type + 100.
enum class DataType : int32_t {
  invalid = 0,
  f32 = 1,
  f64 = 2,
  i32 = 3,
  u8 = 4,
  i16 = 5,
  i8 = 6,
  string = 7,
  complex64 = 8,
  i64 = 9,
  boolean = 10,
  qi8 = 11,
  qu8 = 12,
  qi32 = 13,
  bf16 = 14,
  qi16 = 15,
  qu16 = 16,
  u16 = 17,
  complex128 = 18,
  f16 = 19,
  resource = 20,
  variant = 21,
  u32 = 22,
  u64 = 23,
  f8_e5m2 = 24,
  f8_e4m3fn = 25,
  i4 = 29,
  u4 = 30,
};
// "float", "int32" … as TensorFlow prints them; "type 57" for an unknown one.
std::string dtype_name(DataType dtype);
// Bytes per element; 0 for strings, resources, variants and unknown types.
size_t dtype_size(DataType dtype);
inline DataType base_dtype(DataType t) {
  const auto number = static_cast<int32_t>(t);
  return number > 100 && number < 200 ? static_cast<DataType>(number - 100) : t;
}

struct ShapeProto {
  bool unknown_rank = false;
  std::vector<int64_t> dims;      // -1: unknown
  std::string to_string() const;  // "[-1,224,224,3]", "?"
};

struct TensorProto {
  DataType dtype = DataType::invalid;
  ShapeProto shape;
  Bytes content;
  std::vector<float> float_val;
  std::vector<double> double_val;
  std::vector<int32_t> int_val;
  std::vector<std::string_view> string_val;
  std::vector<float> scomplex_val;
  std::vector<int64_t> int64_val;
  std::vector<uint8_t> bool_val;
  std::vector<double> dcomplex_val;
  std::vector<uint16_t> half_val;
  std::vector<uint32_t> uint32_val;
  std::vector<uint64_t> uint64_val;
  Bytes float8_val;
};

struct AttrValue;

// The attributes of a node or function. Getters without a default fail when the attribute is
// missing; every getter fails when it is of another kind.
struct Attrs {
  std::vector<std::pair<std::string_view, Bytes>> entries;

  bool has(std::string_view name) const { return find(name) != nullptr; }
  Result<AttrValue> get(std::string_view name) const;
  Result<int64_t> get_int(std::string_view name) const;
  Result<int64_t> get_int(std::string_view name, int64_t fallback) const;
  Result<float> get_float(std::string_view name) const;
  Result<float> get_float(std::string_view name, float fallback) const;
  Result<bool> get_bool(std::string_view name, bool fallback) const;
  Result<std::string_view> get_string(std::string_view name) const;
  Result<std::string_view> get_string(std::string_view name, std::string_view fallback) const;
  Result<DataType> get_type(std::string_view name) const;
  Result<DataType> get_type(std::string_view name, DataType fallback) const;
  Result<std::vector<int64_t>> get_ints(std::string_view name) const;
  Result<std::vector<DataType>> get_types(std::string_view name) const;
  // Missing: unknown rank.
  Result<ShapeProto> get_shape(std::string_view name) const;
  Result<TensorProto> get_tensor(std::string_view name) const;

 private:
  const Bytes* find(std::string_view name) const;
};

struct FunctionRef {
  std::string_view name;
  Attrs attrs;
};

struct AttrValue {
  enum class Kind {
    none,
    string,
    integer,
    real,
    boolean,
    type,
    shape,
    tensor,
    function,
    placeholder,
    list
  };
  Kind kind = Kind::none;
  std::string_view s;  // also the name of a placeholder
  int64_t i = 0;
  float f = 0;
  bool b = false;
  DataType type = DataType::invalid;
  ShapeProto shape;
  Bytes tensor;
  FunctionRef function;
  // kind == list
  std::vector<std::string_view> strings;
  std::vector<int64_t> ints;
  std::vector<float> floats;
  std::vector<bool> bools;
  std::vector<DataType> types;
  std::vector<ShapeProto> shapes;
  std::vector<Bytes> tensors;
  std::vector<FunctionRef> functions;
};

struct NodeDef {
  std::string_view name;
  std::string_view op;
  std::vector<std::string_view> inputs;  // "node", "node:1", "^control"; in functions "node:out:0"
  Attrs attrs;
};

struct ArgDef {
  std::string_view name;
  DataType type = DataType::invalid;
  std::string_view type_attr, number_attr, type_list_attr;
  bool is_ref = false;
};

struct FunctionDef {
  std::string_view name;
  std::vector<ArgDef> inputs, outputs;
  std::vector<NodeDef> nodes;
  std::vector<std::pair<std::string_view, std::string_view>> ret;  // output → "node:out:0"
  std::vector<std::pair<std::string_view, std::string_view>> control_ret;  // name → node
  Attrs attrs;
};

// An op as the program that saved the model had it registered.
struct OpDef {
  std::string_view name;
  std::vector<ArgDef> outputs;
  std::vector<std::pair<std::string_view, Bytes>>
      defaults;  // attribute values that nodes leave out
};

struct GraphDef {
  std::vector<NodeDef> nodes;
  std::vector<FunctionDef> functions;
  int64_t producer = 0;
};

struct TensorInfo {
  std::string_view name;  // "dense/BiasAdd:0"
  DataType dtype = DataType::invalid;
  ShapeProto shape;
  // Of a sparse tensor (indices, values, dense_shape) or another composite one (no names of their
  // own), which has no name then.
  std::vector<std::pair<std::string_view, TensorInfo>> components;
};

struct SignatureDef {
  std::vector<std::pair<std::string_view, TensorInfo>> inputs, outputs;  // sorted by key
  std::string_view method_name;
};

struct CollectionDef {
  std::vector<std::string_view> nodes;  // node_list
  std::vector<std::string_view> bytes;  // bytes_list
};

struct AssetFileDef {
  std::string_view tensor_name;
  std::string_view filename;
};

struct SaverDef {
  std::string_view filename_tensor, restore_op;
  int64_t version = 0;  // 2: the bundle format
};

struct SavedObject {
  enum class Kind { other, user_object, asset, function, variable, constant, resource };
  Kind kind = Kind::other;
  std::vector<std::pair<int64_t, std::string_view>> children;  // (object, local name)
  std::string_view name;  // variable: its name; constant: the operation
  int64_t asset_index = -1;
};

struct MetaGraphDef {
  std::vector<std::string_view> tags;
  std::string_view tensorflow_version;
  std::vector<OpDef> ops;  // all that the graph uses
  GraphDef graph;
  SaverDef saver;
  std::vector<std::pair<std::string_view, CollectionDef>> collections;
  std::vector<std::pair<std::string_view, SignatureDef>> signatures;  // sorted by key
  std::vector<AssetFileDef> assets;
  std::vector<SavedObject> objects;
};

// The meta graphs stay encoded: one is chosen by its tags and decoded.
struct SavedModelProto {
  int64_t schema_version = 0;
  std::vector<Bytes> meta_graphs;
};

struct BundleHeader {
  int64_t num_shards = 0;
  int64_t endianness = 0;  // 0 little, 1 big
  int64_t min_consumer = 0;
};

struct SliceExtent {
  int64_t start = 0;
  int64_t length = -1;  // -1: the whole dimension
};
using TensorSlice = std::vector<SliceExtent>;

struct BundleEntry {
  DataType dtype = DataType::invalid;
  ShapeProto shape;
  int64_t shard = 0, offset = 0, size = 0;
  uint32_t masked_crc = 0;
  std::vector<TensorSlice> slices;  // non-empty: the tensor is stored in these pieces
};

// One checkpointed value of an object: its name in the graph and its key in the bundle.
struct CheckpointAttribute {
  std::string_view full_name, key;
};

Result<GraphDef> decode_graph(Bytes bytes);
Result<AttrValue> decode_attr(Bytes bytes, std::string_view name);
Result<TensorProto> decode_tensor(Bytes bytes, std::string_view what);
Result<SavedModelProto> decode_saved_model(Bytes bytes);
Result<std::vector<std::string_view>> decode_meta_graph_tags(Bytes bytes);
Result<MetaGraphDef> decode_meta_graph(Bytes bytes);
Result<BundleHeader> decode_bundle_header(Bytes bytes);
Result<BundleEntry> decode_bundle_entry(Bytes bytes, std::string_view key);
// The attributes of a TrackableObjectGraph.
Result<std::vector<CheckpointAttribute>> decode_object_graph(Bytes bytes);

}  // namespace tenon::tf
