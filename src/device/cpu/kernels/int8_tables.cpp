// Chooses the inner loops of products of bytes for this processor.
#include "base/cpu_features.h"
#include "device/cpu/kernels/int8.h"

namespace tenon::cpu {
namespace int8_avx2 {
const Int8Table& int8_table();
}
namespace int8_avx_vnni {
const Int8Table& int8_table();
}
namespace int8_avx512 {
const Int8Table& int8_table();
}
namespace int8_avx512_vnni {
const Int8Table& int8_table();
}

namespace int8_amx {
const Int8Table& int8_table();
}

namespace {

struct Supported {
  const Int8Table* tables[5] = {};
  size_t count = 0;

  // Each better than those before it.
  Supported() {
    const CpuFeatures& f = cpu_features();
    tables[count++] = &int8_avx2::int8_table();
    if (f.avx512) tables[count++] = &int8_avx512::int8_table();
    if (f.avx_vnni) tables[count++] = &int8_avx_vnni::int8_table();
    if (f.avx512_vnni) tables[count++] = &int8_avx512_vnni::int8_table();
    if (f.avx512_vnni && f.amx_int8) tables[count++] = &int8_amx::int8_table();
  }
};

const Supported& supported() {
  static const Supported tables;
  return tables;
}

}  // namespace

const Int8Table& int8_kernels() {
  return *supported().tables[supported().count - 1];
}

std::span<const Int8Table* const> supported_int8_tables() {
  return {supported().tables, supported().count};
}

}  // namespace tenon::cpu
