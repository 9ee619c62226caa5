#include "fuzz/mutate_message.h"

#include <optional>
#include <vector>

namespace tenon::fuzz {
namespace {

constexpr int kMaxDepth = 24;
constexpr uint64_t kMaxFieldNumber = 4096;  // what has a larger one is hardly a message

enum WireType : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct Field {
  uint64_t number = 0;
  uint8_t type = kVarint;
  uint64_t value = 0;        // of kVarint
  std::string_view payload;  // of the others
};
using Fields = std::vector<Field>;

std::optional<uint64_t> read_varint(std::string_view& bytes) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
    const auto b = static_cast<uint8_t>(bytes[0]);
    bytes.remove_prefix(1);
    value |= static_cast<uint64_t>(b & 0x7f) << shift;
    if ((b & 0x80) == 0) return value;
  }
  return std::nullopt;
}

// The fields of a message; none where the bytes are something else.
Fields parse(std::string_view bytes) {
  Fields fields;
  while (!bytes.empty()) {
    const auto key = read_varint(bytes);
    if (!key || *key >> 3 == 0 || *key >> 3 > kMaxFieldNumber) return {};
    Field f{*key >> 3, static_cast<uint8_t>(*key & 7), 0, {}};
    size_t size = f.type == kFixed64 ? 8 : 4;
    if (f.type == kVarint || f.type == kBytes) {
      const auto value = read_varint(bytes);
      if (!value) return {};
      f.value = *value;
      size = f.type == kVarint ? 0 : static_cast<size_t>(*value);
    } else if (f.type != kFixed64 && f.type != kFixed32) {
      return {};
    }
    if (size > bytes.size()) return {};
    f.payload = bytes.substr(0, size);
    bytes.remove_prefix(size);
    fields.push_back(f);
  }
  return fields;
}

std::string written(const Fields& fields) {
  std::string bytes;
  for (const Field& f : fields) {
    bytes += varint(f.number << 3 | f.type);
    if (f.type == kVarint) bytes += varint(f.value);
    if (f.type == kBytes) bytes += varint(f.payload.size());
    bytes += f.payload;
  }
  return bytes;
}

// Puts in `field` another value; `store` keeps its bytes.
void change_value(Field& field, std::string& store, Random& random) {
  if (field.type == kVarint) {
    field.value = random.below(3) == 0 ? random.below(16) : extreme_value(random);
    return;
  }
  store = field.payload;
  if (store.empty() || random.below(8) == 0) {
    store = random.below(2) == 0 ? "" : store + store;
  } else if (random.below(3) == 0) {
    const uint64_t value = extreme_value(random);
    for (size_t at = random.below(store.size()), i = 0; i < 8 && at + i < store.size(); ++i)
      store[at + i] = static_cast<char>(value >> (8 * i));
  } else {
    store[random.below(store.size())] = static_cast<char>(random.below(256));
  }
  if (field.type != kBytes) store.resize(field.payload.size());
  field.payload = store;
}

// One change of the message itself. `sibling`: another one of its kind, or itself.
std::string changed(Fields fields, const Fields& sibling, Random& random) {
  const size_t at = random.below(fields.size());
  std::string store;
  switch (random.below(7)) {
    case 0:
      fields.erase(fields.begin() + static_cast<ptrdiff_t>(at));
      break;
    case 1:
      fields.insert(fields.begin() + static_cast<ptrdiff_t>(random.below(fields.size())),
                    Field(fields[at]));
      break;
    case 2:
      std::swap(fields[at], fields[random.below(fields.size())]);
      break;
    case 3:
    case 4: {
      const Field& other = sibling[random.below(sibling.size())];
      if (other.number != fields[at].number && random.below(4) != 0) {
        for (Field& f : fields)
          if (f.number == other.number) f = other;
      } else {
        const uint64_t number = fields[at].number;
        fields[at] = other;
        if (random.below(2) == 0) fields[at].number = number;
      }
      break;
    }
    default:
      change_value(fields[at], store, random);
  }
  return written(fields);
}

std::string mutated(const Fields& fields, const Fields& sibling, Random& random, int depth) {
  const size_t at = random.below(fields.size());
  const Field& field = fields[at];
  const Fields inner = field.type == kBytes ? parse(field.payload) : Fields();
  if (inner.empty() || depth >= kMaxDepth || random.below(6) == 0)
    return changed(fields, sibling.empty() ? fields : sibling, random);
  // Another message under the same number, here or in the sibling.
  const Fields& pool = random.below(2) == 0 && !sibling.empty() ? sibling : fields;
  Fields other;
  for (int tries = 0; tries < 8 && other.empty(); ++tries) {
    const Field& candidate = pool[random.below(pool.size())];
    if (candidate.type == kBytes && candidate.number == field.number)
      other = parse(candidate.payload);
  }
  const std::string payload = mutated(inner, other, random, depth + 1);
  Fields result = fields;
  result[at].payload = payload;
  return written(result);
}

}  // namespace

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  bytes += static_cast<char>(value);
  return bytes;
}

std::string mutated_message(std::string_view message, Random& random) {
  const Fields fields = parse(message);
  return fields.empty() ? std::string(message) : mutated(fields, {}, random, 0);
}

}  // namespace tenon::fuzz
