// The part of CNRT that the host code of this folder calls, on the host's own memory. Not the
// vendor's header.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

enum cnrtRet_t { cnrtSuccess = 0, cnrtErrorNoMem = 100100 };
enum cnrtMemTransDir_t {
  cnrtMemcpyHostToDev = 0,
  cnrtMemcpyDevToDev = 1,
  cnrtMemcpyDevToHost = 2,
  cnrtMemcpyHostToHost = 3
};
enum cnrtFunctionType_t {
  cnrtFuncTypeBlock = 1,
  cnrtFuncTypeUnion1 = 4,
  cnrtFuncTypeUnion2 = 8,
  cnrtFuncTypeUnion4 = 16,
  cnrtFuncTypeUnion8 = 32,
  cnrtFuncTypeUnion16 = 64
};
struct cnrtDim3_t {
  uint32_t x, y, z;
};
using cnrtQueue_t = void*;

inline cnrtRet_t cnrtSetDevice(int) {
  return cnrtSuccess;
}
inline cnrtRet_t cnrtQueueCreate(cnrtQueue_t* queue) {
  *queue = nullptr;
  return cnrtSuccess;
}
inline cnrtRet_t cnrtQueueDestroy(cnrtQueue_t) {
  return cnrtSuccess;
}
inline cnrtRet_t cnrtQueueSync(cnrtQueue_t) {
  return cnrtSuccess;
}
inline cnrtRet_t cnrtMalloc(void** memory, size_t bytes) {
  *memory = std::calloc(bytes, 1);
  return *memory == nullptr ? cnrtErrorNoMem : cnrtSuccess;
}
inline cnrtRet_t cnrtFree(void* memory) {
  std::free(memory);
  return cnrtSuccess;
}
inline cnrtRet_t cnrtMemcpy(void* to, void* from, size_t bytes, cnrtMemTransDir_t) {
  if (bytes > 0) std::memcpy(to, from, bytes);
  return cnrtSuccess;
}
