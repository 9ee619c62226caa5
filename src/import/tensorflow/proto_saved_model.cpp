// Decoding of SavedModel and MetaGraphDef.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "import/tensorflow/proto_read.h"

// Found by the namespace of WireReader: the other argument has none of ours.
namespace tenon {

void read(WireReader& in, std::pair<int64_t, std::string_view>& child) {
  while (in.next()) {
    switch (in.key()) {
      case varint_key(1):
        child.first = in.varint();
        break;
      case length_key(2):
        child.second = in.text();
        break;
      default:
        in.skip();
    }
  }
}

}  // namespace tenon

namespace tenon::tf {

void read(WireReader& in, TensorInfo& out);

namespace {

// The tensors of a sparse tensor, in its own order of fields.
struct SparseNames {
  std::string_view values, indices, dense_shape;
};
void read(WireReader& in, SparseNames& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        out.values = in.text();
        break;
      case length_key(2):
        out.indices = in.text();
        break;
      case length_key(3):
        out.dense_shape = in.text();
        break;
      default:
        in.skip();
    }
  }
}

struct CompositeParts {
  std::vector<TensorInfo> parts;
};
void read(WireReader& in, CompositeParts& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(2):
        in.push_message(out.parts);
        break;
      default:
        in.skip();
    }
  }
}

// What the dense type says of the three tensors.
void set_components(TensorInfo& info, const SparseNames& names) {
  const int64_t rank = info.shape.unknown_rank ? -1 : static_cast<int64_t>(info.shape.dims.size());
  info.components = {{"indices", {names.indices, DataType::i64, {false, {-1, rank}}, {}}},
                     {"values", {names.values, info.dtype, {false, {-1}}, {}}},
                     {"dense_shape", {names.dense_shape, DataType::i64, {false, {rank}}, {}}}};
}

}  // namespace

void read(WireReader& in, TensorInfo& out) {
  std::optional<SparseNames> sparse;
  CompositeParts composite;
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        out.name = in.text();
        break;
      case varint_key(2):
        out.dtype = static_cast<DataType>(in.varint());
        break;
      case length_key(3):
        in.message(out.shape);
        break;
      case length_key(4):
        in.message(sparse.emplace());
        break;
      case length_key(5):
        in.message(composite);
        break;
      default:
        in.skip();
    }
  }
  if (sparse) set_components(out, *sparse);
  for (TensorInfo& part : composite.parts) out.components.emplace_back("", std::move(part));
}

void read(WireReader& in, SignatureDef& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        in.push_message(out.inputs);
        break;
      case length_key(2):
        in.push_message(out.outputs);
        break;
      case length_key(3):
        out.method_name = in.text();
        break;
      default:
        in.skip();
    }
  }
}

// NodeList and BytesList: repeated strings under number 1.
struct TextList {
  std::vector<std::string_view>& items;
};
void read(WireReader& in, TextList& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        in.push(out.items, in.text());
        break;
      default:
        in.skip();
    }
  }
}

void read(WireReader& in, CollectionDef& out) {
  TextList nodes{out.nodes}, bytes{out.bytes};
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        in.message(nodes);
        break;
      case length_key(2):
        in.message(bytes);
        break;
      default:
        in.skip();
    }
  }
}

void read(WireReader& in, AssetFileDef& out) {
  TensorInfo info;
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        in.message(info);
        break;
      case length_key(2):
        out.filename = in.text();
        break;
      default:
        in.skip();
    }
  }
  out.tensor_name = info.name;
}

void read(WireReader& in, SaverDef& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        out.filename_tensor = in.text();
        break;
      case length_key(3):
        out.restore_op = in.text();
        break;
      case varint_key(7):
        out.version = in.varint();
        break;
      default:
        in.skip();
    }
  }
}

// SavedAsset, SavedVariable and SavedConstant, of which one field each is read.
struct SavedLeaf {
  SavedObject& object;
};
void read(WireReader& in, SavedLeaf& out) {
  using Kind = SavedObject::Kind;
  while (in.next()) {
    const uint32_t key = in.key();
    if (out.object.kind == Kind::asset && key == varint_key(1)) {
      out.object.asset_index = in.varint();
    } else if (out.object.kind == Kind::variable && key == length_key(6)) {
      out.object.name = in.text();
    } else if (out.object.kind == Kind::constant && key == length_key(1)) {
      out.object.name = in.text();
    } else {
      in.skip();
    }
  }
}

void read(WireReader& in, SavedObject& out) {
  using Kind = SavedObject::Kind;
  SavedLeaf leaf{out};
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        in.push_message(out.children);
        break;
      case length_key(4):
        out.kind = Kind::user_object, in.skip();
        break;
      case length_key(5):
        out.kind = Kind::asset, in.message(leaf);
        break;
      case length_key(6):
        out.kind = Kind::function, in.skip();
        break;
      case length_key(7):
        out.kind = Kind::variable, in.message(leaf);
        break;
      case length_key(9):
        out.kind = Kind::constant, in.message(leaf);
        break;
      case length_key(10):
        out.kind = Kind::resource, in.skip();
        break;
      default:
        in.skip();
    }
  }
}

struct ObjectGraphReader {
  MetaGraphDef& meta;
};
void read(WireReader& in, ObjectGraphReader& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        in.push_message(out.meta.objects);
        break;
      default:
        in.skip();
    }
  }
}

struct OpListReader {
  std::vector<OpDef>& ops;
};
void read(WireReader& in, OpListReader& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        in.push_message(out.ops);
        break;
      default:
        in.skip();
    }
  }
}

struct MetaInfoReader {
  MetaGraphDef& meta;
};
void read(WireReader& in, MetaInfoReader& out) {
  OpListReader ops{out.meta.ops};
  while (in.next()) {
    switch (in.key()) {
      case length_key(2):
        in.message(ops);
        break;
      case length_key(4):
        in.push(out.meta.tags, in.text());
        break;
      case length_key(5):
        out.meta.tensorflow_version = in.text();
        break;
      default:
        in.skip();
    }
  }
}

void read(WireReader& in, MetaGraphDef& out) {
  MetaInfoReader info{out};
  ObjectGraphReader objects{out};
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        in.message(info);
        break;
      case length_key(2):
        in.message(out.graph);
        break;
      case length_key(3):
        in.message(out.saver);
        break;
      case length_key(4):
        in.push_message(out.collections);
        break;
      case length_key(5):
        in.push_message(out.signatures);
        break;
      case length_key(6):
        in.push_message(out.assets);
        break;
      case length_key(7):
        in.message(objects);
        break;
      default:
        in.skip();
    }
  }
  const auto by_key = [](const auto& a, const auto& b) { return a.first < b.first; };
  std::stable_sort(out.signatures.begin(), out.signatures.end(), by_key);
  for (auto& [key, signature] : out.signatures) {
    std::stable_sort(signature.inputs.begin(), signature.inputs.end(), by_key);
    std::stable_sort(signature.outputs.begin(), signature.outputs.end(), by_key);
  }
}

void read(WireReader& in, SavedModelProto& out) {
  while (in.next()) {
    switch (in.key()) {
      case varint_key(1):
        out.schema_version = in.varint();
        break;
      case length_key(2):
        in.push(out.meta_graphs, in.bytes());
        break;
      default:
        in.skip();
    }
  }
}

Result<SavedModelProto> decode_saved_model(Bytes bytes) {
  return decode_message<SavedModelProto>(bytes, "SavedModel");
}

Result<std::vector<std::string_view>> decode_meta_graph_tags(Bytes bytes) {
  MetaGraphDef meta;
  TRY(with_wire(bytes, "MetaGraphDef", [&](WireReader& in) {
    MetaInfoReader info{meta};
    while (in.next()) {
      if (in.key() == length_key(1)) {
        in.message(info);
      } else {
        in.skip();
      }
    }
  }));
  return std::move(meta.tags);
}

Result<MetaGraphDef> decode_meta_graph(Bytes bytes) {
  return decode_message<MetaGraphDef>(bytes, "MetaGraphDef");
}

}  // namespace tenon::tf
