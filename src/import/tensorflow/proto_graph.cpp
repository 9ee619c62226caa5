// Decoding of GraphDef, FunctionDef, NodeDef and the types they are made of.
#include <fmt/format.h>

#include "import/tensorflow/proto_read.h"

// Found by the namespace of WireReader: the other argument has none of ours.
namespace tenon {

void read(WireReader& in, std::pair<int64_t, bool>& dim) {
  while (in.next()) {
    switch (in.key()) {
      case varint_key(1):
        dim.first = in.varint();
        break;
      default:
        in.skip();
    }
  }
}

}  // namespace tenon

namespace tenon::tf {

void read(WireReader& in, ShapeProto& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(2): {
        std::pair<int64_t, bool> dim{};
        in.message(dim);
        in.push(out.dims, dim.first);
        break;
      }
      case varint_key(3):
        out.unknown_rank = in.varint() != 0;
        break;
      default:
        in.skip();
    }
  }
}

void read(WireReader& in, TensorProto& out) {
  while (in.next()) {
    switch (in.key()) {
      case varint_key(1):
        out.dtype = static_cast<DataType>(in.varint());
        break;
      case length_key(2):
        in.message(out.shape);
        break;
      case length_key(4):
        out.content = in.bytes();
        break;
      case length_key(5):
        in.packed_fixed(out.float_val);
        break;
      case fixed32_key(5):
        in.push(out.float_val, in.float32());
        break;
      case length_key(6):
        in.packed_fixed(out.double_val);
        break;
      case fixed64_key(6):
        in.push(out.double_val, in.float64());
        break;
      case length_key(7):
        in.packed_varints(out.int_val);
        break;
      case varint_key(7):
        in.push(out.int_val, static_cast<int32_t>(in.varint()));
        break;
      case length_key(8):
        in.push(out.string_val, in.text());
        break;
      case length_key(9):
        in.packed_fixed(out.scomplex_val);
        break;
      case fixed32_key(9):
        in.push(out.scomplex_val, in.float32());
        break;
      case length_key(10):
        in.packed_varints(out.int64_val);
        break;
      case varint_key(10):
        in.push(out.int64_val, in.varint());
        break;
      case length_key(11):
        in.packed_varints(out.bool_val);
        break;
      case varint_key(11):
        in.push(out.bool_val, static_cast<uint8_t>(in.varint()));
        break;
      case length_key(12):
        in.packed_fixed(out.dcomplex_val);
        break;
      case fixed64_key(12):
        in.push(out.dcomplex_val, in.float64());
        break;
      case length_key(13):
        in.packed_varints(out.half_val);
        break;
      case varint_key(13):
        in.push(out.half_val, static_cast<uint16_t>(in.varint()));
        break;
      case length_key(16):
        in.packed_varints(out.uint32_val);
        break;
      case varint_key(16):
        in.push(out.uint32_val, static_cast<uint32_t>(in.varint()));
        break;
      case length_key(17):
        in.packed_varints(out.uint64_val);
        break;
      case varint_key(17):
        in.push(out.uint64_val, static_cast<uint64_t>(in.varint()));
        break;
      case length_key(18):
        out.float8_val = in.bytes();
        break;
      default:
        in.skip();
    }
  }
}

void read(WireReader& in, FunctionRef& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        out.name = in.text();
        break;
      case length_key(2):
        in.push_message(out.attrs.entries);
        break;
      default:
        in.skip();
    }
  }
}

// AttrValue.ListValue, into the list members.
struct ListReader {
  AttrValue& value;
};
void read(WireReader& in, ListReader& out) {
  AttrValue& v = out.value;
  std::vector<uint8_t> flags;
  while (in.next()) {
    switch (in.key()) {
      case length_key(2):
        in.push(v.strings, in.text());
        break;
      case length_key(3):
        in.packed_varints(v.ints);
        break;
      case varint_key(3):
        in.push(v.ints, in.varint());
        break;
      case length_key(4):
        in.packed_fixed(v.floats);
        break;
      case fixed32_key(4):
        in.push(v.floats, in.float32());
        break;
      case length_key(5):
        in.packed_varints(flags);
        break;
      case varint_key(5):
        in.push(flags, static_cast<uint8_t>(in.varint()));
        break;
      case length_key(6):
        in.packed_varints(v.types);
        break;
      case varint_key(6):
        in.push(v.types, static_cast<DataType>(in.varint()));
        break;
      case length_key(7):
        in.push_message(v.shapes);
        break;
      case length_key(8):
        in.push(v.tensors, in.bytes());
        break;
      case length_key(9):
        in.push_message(v.functions);
        break;
      default:
        in.skip();
    }
  }
  v.bools.assign(flags.begin(), flags.end());
}

void read(WireReader& in, AttrValue& out) {
  using Kind = AttrValue::Kind;
  while (in.next()) {
    switch (in.key()) {
      case length_key(1): {
        out.kind = Kind::list;
        ListReader list{out};
        in.message(list);
        break;
      }
      case length_key(2):
        out.kind = Kind::string, out.s = in.text();
        break;
      case varint_key(3):
        out.kind = Kind::integer, out.i = in.varint();
        break;
      case fixed32_key(4):
        out.kind = Kind::real, out.f = in.float32();
        break;
      case varint_key(5):
        out.kind = Kind::boolean, out.b = in.varint() != 0;
        break;
      case varint_key(6):
        out.kind = Kind::type, out.type = static_cast<DataType>(in.varint());
        break;
      case length_key(7):
        out.kind = Kind::shape, in.message(out.shape);
        break;
      case length_key(8):
        out.kind = Kind::tensor, out.tensor = in.bytes();
        break;
      case length_key(9):
        out.kind = Kind::placeholder, out.s = in.text();
        break;
      case length_key(10):
        out.kind = Kind::function, in.message(out.function);
        break;
      default:
        in.skip();
    }
  }
}

void read(WireReader& in, NodeDef& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        out.name = in.text();
        break;
      case length_key(2):
        out.op = in.text();
        break;
      case length_key(3):
        in.push(out.inputs, in.text());
        break;
      case length_key(5):
        in.push_message(out.attrs.entries);
        break;
      default:
        in.skip();
    }
  }
}

void read(WireReader& in, ArgDef& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        out.name = in.text();
        break;
      case varint_key(3):
        out.type = static_cast<DataType>(in.varint());
        break;
      case length_key(4):
        out.type_attr = in.text();
        break;
      case length_key(5):
        out.number_attr = in.text();
        break;
      case length_key(6):
        out.type_list_attr = in.text();
        break;
      case varint_key(16):
        out.is_ref = in.varint() != 0;
        break;
      default:
        in.skip();
    }
  }
}

// An attribute an OpDef declares: kept where it has a default.
struct AttrDefReader {
  std::string_view name;
  Bytes value;
};
void read(WireReader& in, AttrDefReader& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        out.name = in.text();
        break;
      case length_key(3):
        out.value = in.bytes();
        break;
      default:
        in.skip();
    }
  }
}

void read(WireReader& in, OpDef& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        out.name = in.text();
        break;
      case length_key(3):
        in.push_message(out.outputs);
        break;
      case length_key(4): {
        AttrDefReader attr;
        in.message(attr);
        if (!attr.value.empty()) out.defaults.emplace_back(attr.name, attr.value);
        break;
      }
      default:
        in.skip();
    }
  }
}

// The OpDef of a function, into the function.
struct SignatureReader {
  FunctionDef& function;
};
void read(WireReader& in, SignatureReader& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        out.function.name = in.text();
        break;
      case length_key(2):
        in.push_message(out.function.inputs);
        break;
      case length_key(3):
        in.push_message(out.function.outputs);
        break;
      default:
        in.skip();
    }
  }
}

void read(WireReader& in, FunctionDef& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1): {
        SignatureReader signature{out};
        in.message(signature);
        break;
      }
      case length_key(3):
        in.push_message(out.nodes);
        break;
      case length_key(4):
        in.push_message(out.ret);
        break;
      case length_key(5):
        in.push_message(out.attrs.entries);
        break;
      case length_key(6):
        in.push_message(out.control_ret);
        break;
      default:
        in.skip();
    }
  }
}

struct LibraryReader {
  GraphDef& graph;
};
void read(WireReader& in, LibraryReader& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        in.push_message(out.graph.functions);
        break;
      default:
        in.skip();
    }
  }
}

void read(WireReader& in, Versions& out) {
  while (in.next()) {
    switch (in.key()) {
      case varint_key(1):
        out.producer = in.varint();
        break;
      case varint_key(2):
        out.min_consumer = in.varint();
        break;
      default:
        in.skip();
    }
  }
}

void read(WireReader& in, GraphDef& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        in.push_message(out.nodes);
        break;
      case length_key(2): {
        LibraryReader library{out};
        in.message(library);
        break;
      }
      case length_key(4): {
        Versions versions{out.producer};
        in.message(versions);
        out.producer = versions.producer;
        break;
      }
      default:
        in.skip();
    }
  }
}

Result<GraphDef> decode_graph(Bytes bytes) {
  return decode_message<GraphDef>(bytes, "GraphDef");
}
Result<TensorProto> decode_tensor(Bytes bytes, std::string_view what) {
  return decode_message<TensorProto>(bytes, what);
}
Result<AttrValue> decode_attr(Bytes bytes, std::string_view name) {
  AttrValue value;
  TRY(with_wire(bytes, fmt::format("attribute '{}'", name),
                [&](WireReader& in) { read(in, value); }));
  return value;
}

}  // namespace tenon::tf
