// Decoding of the messages of a checkpoint (tensor bundle) and of its object graph.
#include <fmt/format.h>

#include "import/tensorflow/proto_read.h"

namespace tenon::tf {

void read(WireReader& in, BundleHeader& out) {
  Versions versions;
  while (in.next()) {
    switch (in.key()) {
      case varint_key(1):
        out.num_shards = in.varint();
        break;
      case varint_key(2):
        out.endianness = in.varint();
        break;
      case length_key(3):
        in.message(versions);
        break;
      default:
        in.skip();
    }
  }
  out.min_consumer = versions.min_consumer;
}

void read(WireReader& in, SliceExtent& out) {
  while (in.next()) {
    switch (in.key()) {
      case varint_key(1):
        out.start = in.varint();
        break;
      case varint_key(2):
        out.length = in.varint();
        break;
      default:
        in.skip();
    }
  }
}
void read(WireReader& in, TensorSlice& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(1):
        in.push_message(out);
        break;
      default:
        in.skip();
    }
  }
}

void read(WireReader& in, BundleEntry& out) {
  while (in.next()) {
    switch (in.key()) {
      case varint_key(1):
        out.dtype = static_cast<DataType>(in.varint());
        break;
      case length_key(2):
        in.message(out.shape);
        break;
      case varint_key(3):
        out.shard = in.varint();
        break;
      case varint_key(4):
        out.offset = in.varint();
        break;
      case varint_key(5):
        out.size = in.varint();
        break;
      case fixed32_key(6):
        out.masked_crc = in.fixed32();
        break;
      case length_key(7):
        in.push_message(out.slices);
        break;
      default:
        in.skip();
    }
  }
}

void read(WireReader& in, CheckpointAttribute& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(2):
        out.full_name = in.text();
        break;
      case length_key(3):
        out.key = in.text();
        break;
      default:
        in.skip();
    }
  }
}

struct TrackedObject {
  std::vector<CheckpointAttribute>& attributes;
};
void read(WireReader& in, TrackedObject& out) {
  while (in.next()) {
    switch (in.key()) {
      case length_key(2):
        in.push_message(out.attributes);
        break;
      default:
        in.skip();
    }
  }
}

Result<BundleHeader> decode_bundle_header(Bytes bytes) {
  return decode_message<BundleHeader>(bytes, "the checkpoint's header");
}
Result<BundleEntry> decode_bundle_entry(Bytes bytes, std::string_view key) {
  return decode_message<BundleEntry>(bytes, fmt::format("the checkpoint's entry '{}'", key));
}

Result<std::vector<CheckpointAttribute>> decode_object_graph(Bytes bytes) {
  std::vector<CheckpointAttribute> attributes;
  TRY(with_wire(bytes, "the checkpoint's object graph", [&](WireReader& in) {
    TrackedObject object{attributes};
    while (in.next()) {
      if (in.key() == length_key(1)) {
        in.message(object);
      } else {
        in.skip();
      }
    }
  }));
  return attributes;
}

}  // namespace tenon::tf
