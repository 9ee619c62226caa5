// Decoding of tensors and types.
#include "import/onnx/proto_read.h"

namespace tenon::onnx {

void read(WireReader& in, DimProto& out) {
  while (in.next()) {
    switch (in.key()) {
      case varint_key(1):
        out.has_value = true;
        out.value = in.varint();
        break;
      case length_key(2):
        out.param = in.text();
        break;
      default:
        in.skip();
    }
  }
}

namespace {

struct Entry {
  std::string_view key, value;
};
void read(WireReader& in, Entry& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        out.key = in.text();
        break;
      case length_key(2):
        out.value = in.text();
        break;
      default:
        in.skip();
    }
  }
}

struct Dims {
  std::vector<DimProto>& dims;
};
void read(WireReader& in, Dims& out) {
  while (in.next()) {
    if (in.key() == length_key(1))
      in.push_message(out.dims);
    else
      in.skip();
  }
}

// TypeProto.Tensor.
struct TensorPart {
  TypeProto& type;
};
void read(WireReader& in, TensorPart& out) {
  while (in.next()) {
    switch (in.key()) {
      case varint_key(1):
        out.type.element = static_cast<ElementType>(in.varint());
        break;
      case length_key(2): {
        out.type.has_shape = true;
        Dims dims{out.type.dims};
        in.message(dims);
        break;
      }
      default:
        in.skip();
    }
  }
}

// TypeProto.Sequence and TypeProto.Optional.
struct ElementPart {
  TypeProto& type;
};
void read(WireReader& in, ElementPart& out) {
  while (in.next()) {
    if (in.key() == length_key(1))
      in.push_message(out.type.inner);
    else
      in.skip();
  }
}

// TypeProto.Map.
struct MapPart {
  TypeProto& type;
};
void read(WireReader& in, MapPart& out) {
  while (in.next()) {
    if (in.key() == varint_key(1))
      out.type.element = static_cast<ElementType>(in.varint());
    else if (in.key() == length_key(2))
      in.push_message(out.type.inner);
    else
      in.skip();
  }
}

}  // namespace

void read(WireReader& in, TypeProto& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1): {
        out.kind = TypeKind::tensor;
        TensorPart part{out};
        in.message(part);
        break;
      }
      case length_key(4):
      case length_key(9): {
        out.kind = in.key() == length_key(4) ? TypeKind::sequence : TypeKind::optional;
        ElementPart part{out};
        in.message(part);
        break;
      }
      case length_key(5): {
        out.kind = TypeKind::map;
        MapPart part{out};
        in.message(part);
        break;
      }
      case length_key(7):
        out.kind = TypeKind::opaque;
        in.skip();
        break;
      case length_key(8):
        out.kind = TypeKind::sparse;
        in.skip();
        break;
      default:
        in.skip();
    }
  }
}

void read(WireReader& in, ValueInfoProto& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        out.name = in.text();
        break;
      case length_key(2):
        in.message(out.type);
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
      case length_key(1):
        read_varints(in, out.dims);
        break;
      case varint_key(2):
        out.type = static_cast<ElementType>(in.varint());
        break;
      case length_key(4):
        in.packed_fixed(out.floats);
        break;
      case fixed32_key(4):
        in.push(out.floats, in.float32());
        break;
      case varint_key(5):
      case length_key(5):
        read_varints(in, out.ints32);
        break;
      case length_key(6):
        in.push(out.strings, in.text());
        break;
      case varint_key(7):
      case length_key(7):
        read_varints(in, out.ints64);
        break;
      case length_key(8):
        out.name = in.text();
        break;
      case length_key(9):
        out.raw = in.bytes();
        out.has_raw = true;
        break;
      case length_key(10):
        in.packed_fixed(out.doubles);
        break;
      case fixed64_key(10):
        in.push(out.doubles, in.float64());
        break;
      case varint_key(11):
      case length_key(11):
        read_varints(in, out.uints64);
        break;
      case length_key(13): {
        Entry entry;
        in.message(entry);
        in.push(out.external_data, {entry.key, entry.value});
        break;
      }
      case varint_key(14):
        out.external = in.varint() == 1;
        break;
      default:
        in.skip();
    }
  }
}

void read(WireReader& in, SparseTensorProto& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        in.message(out.values);
        break;
      case length_key(2):
        in.message(out.indices);
        break;
      case varint_key(3):
      case length_key(3):
        read_varints(in, out.dims);
        break;
      default:
        in.skip();
    }
  }
}

}  // namespace tenon::onnx
