// Decoding of models: graphs, nodes, attributes, functions.
#include "import/onnx/proto.h"

#include "import/onnx/proto_read.h"

namespace tenon::onnx {

void read(WireReader& in, GraphProto& out);

void read(WireReader& in, AttributeProto& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        out.name = in.text();
        break;
      case fixed32_key(2):
        out.real = in.float32();
        break;
      case varint_key(3):
        out.integer = in.varint();
        break;
      case length_key(4):
        out.string = in.text();
        break;
      case length_key(5):
      case length_key(10):
        in.push_message(out.tensors);
        break;
      case length_key(6):
      case length_key(11):
        in.push_message(out.graphs);
        break;
      case length_key(7):
        in.packed_fixed(out.reals);
        break;
      case fixed32_key(7):
        in.push(out.reals, in.float32());
        break;
      case varint_key(8):
      case length_key(8):
        read_varints(in, out.integers);
        break;
      case length_key(9):
        in.push(out.strings, in.text());
        break;
      case length_key(14):
      case length_key(15):
        in.push_message(out.types);
        break;
      case varint_key(20):
        out.type = static_cast<AttrType>(in.varint());
        break;
      case length_key(21):
        out.ref = in.text();
        break;
      case length_key(22):
      case length_key(23):
        in.push_message(out.sparse_tensors);
        break;
      default:
        in.skip();
    }
  }
}

void read(WireReader& in, NodeProto& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        in.push(out.inputs, in.text());
        break;
      case length_key(2):
        in.push(out.outputs, in.text());
        break;
      case length_key(3):
        out.name = in.text();
        break;
      case length_key(4):
        out.op = in.text();
        break;
      case length_key(5):
        in.push_message(out.attrs);
        break;
      case length_key(7):
        out.domain = in.text();
        break;
      case length_key(8):
        out.overload = in.text();
        break;
      default:
        in.skip();
    }
  }
}

void read(WireReader& in, GraphProto& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        in.push_message(out.nodes);
        break;
      case length_key(2):
        out.name = in.text();
        break;
      case length_key(5):
        in.push_message(out.initializers);
        break;
      case length_key(11):
        in.push_message(out.inputs);
        break;
      case length_key(12):
        in.push_message(out.outputs);
        break;
      case length_key(13):
        in.push_message(out.value_infos);
        break;
      case length_key(15):
        in.push_message(out.sparse_initializers);
        break;
      default:
        in.skip();
    }
  }
}

void read(WireReader& in, OperatorSetId& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        out.domain = in.text();
        break;
      case varint_key(2):
        out.version = in.varint();
        break;
      default:
        in.skip();
    }
  }
}

void read(WireReader& in, FunctionProto& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        out.name = in.text();
        break;
      case length_key(4):
        in.push(out.inputs, in.text());
        break;
      case length_key(5):
        in.push(out.outputs, in.text());
        break;
      case length_key(6):
        in.push(out.attributes, in.text());
        break;
      case length_key(7):
        in.push_message(out.nodes);
        break;
      case length_key(9):
        in.push_message(out.opsets);
        break;
      case length_key(10):
        out.domain = in.text();
        break;
      case length_key(11):
        in.push_message(out.attribute_protos);
        break;
      case length_key(13):
        out.overload = in.text();
        break;
      default:
        in.skip();
    }
  }
}

void read(WireReader& in, ModelProto& out) {
  while (in.next()) {
    switch (in.key()) {
      case varint_key(1):
        out.ir_version = in.varint();
        break;
      case length_key(2):
        out.producer = in.text();
        break;
      case length_key(7):
        in.message(out.graph);
        break;
      case length_key(8):
        in.push_message(out.opsets);
        break;
      case length_key(25):
        in.push_message(out.functions);
        break;
      default:
        in.skip();
    }
  }
}

Result<ModelProto> decode_model(Bytes bytes) {
  return decode_message<ModelProto>(bytes, "the ONNX model");
}

}  // namespace tenon::onnx
