// The part of AscendCL that the host code of this folder calls, on the host's own memory. Not the
// vendor's header.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

using aclError = int;
using aclrtStream = void*;
enum aclrtMemMallocPolicy { ACL_MEM_MALLOC_HUGE_FIRST = 0 };
enum aclrtMemcpyKind {
  ACL_MEMCPY_HOST_TO_HOST = 0,
  ACL_MEMCPY_HOST_TO_DEVICE = 1,
  ACL_MEMCPY_DEVICE_TO_HOST = 2,
  ACL_MEMCPY_DEVICE_TO_DEVICE = 3
};

inline aclError aclInit(const char*) {
  return 0;
}
inline aclError aclFinalize() {
  return 0;
}
inline aclError aclrtSetDevice(int32_t) {
  return 0;
}
inline aclError aclrtResetDevice(int32_t) {
  return 0;
}
inline aclError aclrtCreateStream(aclrtStream* stream) {
  *stream = nullptr;
  return 0;
}
inline aclError aclrtDestroyStream(aclrtStream) {
  return 0;
}
inline aclError aclrtSynchronizeStream(aclrtStream) {
  return 0;
}
inline aclError aclrtMalloc(void** memory, size_t bytes, aclrtMemMallocPolicy) {
  *memory = std::calloc(bytes, 1);
  return *memory == nullptr ? 200000 : 0;
}
inline aclError aclrtFree(void* memory) {
  std::free(memory);
  return 0;
}
inline aclError aclrtMemcpy(void* to, size_t room, const void* from, size_t bytes,
                            aclrtMemcpyKind) {
  if (bytes > room) return 100000;
  if (bytes > 0) std::memcpy(to, from, bytes);
  return 0;
}
