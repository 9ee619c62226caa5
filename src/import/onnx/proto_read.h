// Decoders of messages that both decoding files need.
#pragma once

#include "import/onnx/proto.h"
#include "import/wire.h"

namespace tenon::onnx {

void read(WireReader& in, TensorProto& out);
void read(WireReader& in, SparseTensorProto& out);
void read(WireReader& in, TypeProto& out);
void read(WireReader& in, ValueInfoProto& out);

// A repeated number that may come packed or one by one.
template <typename T>
void read_varints(WireReader& in, std::vector<T>& out) {
  if ((in.key() & 7) == 2)
    in.packed_varints(out);
  else
    in.push(out, static_cast<T>(in.varint()));
}

}  // namespace tenon::onnx
