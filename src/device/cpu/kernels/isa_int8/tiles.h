// The tile registers of AMX: eight of 16 rows by 64 bytes. With TENON_TILES_IN_MEMORY arrays behave
// as they do, so that what is built on them is tested on machines without AMX; TENON_TILE_NAMESPACE
// is that of the includer. Source: Intel's instruction set manual, LDTILECFG, TILELOADD, TDPBUSD,
// TDPBF16PS, TILESTORED.
#pragma once

#include <cstdint>

namespace tenon::cpu::TENON_TILE_NAMESPACE {
namespace {

inline constexpr int kTileRows = 16;
inline constexpr int64_t kTileBytes = 64;  // of a row

#if defined(TENON_TILES_IN_MEMORY)
struct TileMemory {
  int rows[8];
  uint8_t bytes[8][kTileRows][kTileBytes];
};
inline thread_local TileMemory tiles;

// Tiles 0, 1 and 4 get `top` rows, 2, 3 and 5 `bottom`, 6 and 7 all.
inline void configure_tiles(int top, int bottom) {
  tiles = {{top, top, bottom, bottom, top, bottom, kTileRows, kTileRows}, {}};
}
inline void release_tiles() {
  tiles = {};
}
template <int kTile>
inline void zero_tile() {
  __builtin_memset(tiles.bytes[kTile], 0, sizeof tiles.bytes[kTile]);
}
template <int kTile>
inline void load_tile(const void* from, int64_t stride) {
  for (int r = 0; r < tiles.rows[kTile]; ++r)
    __builtin_memcpy(tiles.bytes[kTile][r], static_cast<const char*>(from) + r * stride,
                     kTileBytes);
}
template <int kTile>
inline void store_tile(void* to, int64_t stride) {
  for (int r = 0; r < tiles.rows[kTile]; ++r)
    __builtin_memcpy(static_cast<char*>(to) + r * stride, tiles.bytes[kTile][r], kTileBytes);
}
template <int kSum, int kA, int kB>
inline void multiply_tiles() {
  for (int r = 0; r < tiles.rows[kSum]; ++r)
    for (int c = 0; c < 16; ++c) {
      int32_t sum;
      __builtin_memcpy(&sum, &tiles.bytes[kSum][r][4 * c], 4);
      for (int k = 0; k < kTileBytes; ++k)
        sum += tiles.bytes[kA][r][k] * static_cast<int8_t>(tiles.bytes[kB][k / 4][4 * c + k % 4]);
      __builtin_memcpy(&tiles.bytes[kSum][r][4 * c], &sum, 4);
    }
}
// Pairs of bf16, sums of floats.
template <int kSum, int kA, int kB>
inline void multiply_pair_tiles() {
  const auto real = [](const uint8_t* p) {
    uint16_t half;
    __builtin_memcpy(&half, p, 2);
    const uint32_t bits = static_cast<uint32_t>(half) << 16;
    float v;
    __builtin_memcpy(&v, &bits, 4);
    return v;
  };
  for (int r = 0; r < tiles.rows[kSum]; ++r)
    for (int c = 0; c < 16; ++c) {
      float sum;
      __builtin_memcpy(&sum, &tiles.bytes[kSum][r][4 * c], 4);
      for (int k = 0; k < 32; ++k)
        sum += real(&tiles.bytes[kA][r][2 * k]) * real(&tiles.bytes[kB][k / 2][4 * c + k % 2 * 2]);
      __builtin_memcpy(&tiles.bytes[kSum][r][4 * c], &sum, 4);
    }
}
#else
inline void configure_tiles(int top, int bottom) {
  struct alignas(64) {
    uint8_t palette = 1, first_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {};
  } shapes;
  static_assert(sizeof shapes == 64);
  const int rows[8] = {top, top, bottom, bottom, top, bottom, kTileRows, kTileRows};
  for (int t = 0; t < 8; ++t) shapes.rows[t] = static_cast<uint8_t>(rows[t] > 0 ? rows[t] : 1);
  __asm__ volatile("ldtilecfg %0" ::"m"(shapes) : "memory");
}
inline void release_tiles() {
  __asm__ volatile("tilerelease" ::: "memory");
}
template <int kTile>
inline void zero_tile() {
  __asm__ volatile("tilezero %%tmm%c0" ::"i"(kTile));
}
template <int kTile>
inline void load_tile(const void* from, int64_t stride) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
inline void store_tile(void* to, int64_t stride) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(kTile) : "memory");
}
template <int kSum, int kA, int kB>
inline void multiply_tiles() {
  __asm__ volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kA), "i"(kB));
}
template <int kSum, int kA, int kB>
inline void multiply_pair_tiles() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSum), "i"(kA), "i"(kB));
}
#endif

}  // namespace
}  // namespace tenon::cpu::TENON_TILE_NAMESPACE
