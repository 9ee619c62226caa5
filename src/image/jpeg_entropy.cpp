// Entropy coding of JPEG files (ITU-T T.81, annexes C, F, G and K) in the place of libjpeg-turbo's
// coders, which bring three tables of 64 kB and code unrolled for each coefficient, 300 kB in all.
// The library calls these by the names of its own, and writes the same bytes. There are no restarts
// and no arithmetic coding, which nothing here asks for.
#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>

// In this order: jpeglib.h wants the types of cstdio.
#define JPEG_INTERNALS
#include <jpeglib.h>

#include "image/jpeg_codes.h"

namespace tenon::image {
namespace {

constexpr int kZeros16 = 0xF0;
constexpr int kMostEmptyBlocks = 0x7FFF;
// Of coefficients that a scan refines, kept until its empty blocks are counted: as many as the
// library keeps.
constexpr int kMostKept = 1000;

// The last `used` bits are not written yet.
struct Bits {
  uint64_t bits;
  int used;
};

struct Coder {
  jpeg_entropy_encoder calls;  // first, as it is what the library sees
  bool counts_only;
  Bits out;
  int last_dc[MAX_COMPS_IN_SCAN];
  int empty_blocks, kept;
  uint8_t kept_bits[kMostKept];
  Codes codes[2][NUM_HUFF_TBLS];  // of DC, of AC
  Counts counts[2][NUM_HUFF_TBLS];
};

Coder& coder_of(j_compress_ptr info) {
  return *reinterpret_cast<Coder*>(info->entropy);
}

[[noreturn]] void fail(j_compress_ptr info, int code) {
  info->err->msg_code = code;
  info->err->error_exit(reinterpret_cast<j_common_ptr>(info));
  std::abort();  // it does not return
}

void write_byte(j_compress_ptr info, uint8_t byte) {
  jpeg_destination_mgr& out = *info->dest;
  *out.next_output_byte++ = byte;
  if (--out.free_in_buffer == 0 && !out.empty_output_buffer(info)) fail(info, JERR_CANT_SUSPEND);
}

// Zeros after bytes of ones tell them from markers.
void write_stuffed(j_compress_ptr info, uint8_t byte) {
  write_byte(info, byte);
  if (byte == 0xFF) write_byte(info, 0);
}

[[gnu::noinline]] void write_word(j_compress_ptr info, uint64_t word) {
  constexpr uint64_t kLow = 0x0101010101010101, kHigh = 0x8080808080808080;
  jpeg_destination_mgr& out = *info->dest;
  const bool has_ones = ((~word - kLow) & word & kHigh) != 0;
  if (!has_ones && out.free_in_buffer > sizeof word) {
    const uint64_t bytes = __builtin_bswap64(word);
    std::memcpy(out.next_output_byte, &bytes, sizeof bytes);
    out.next_output_byte += sizeof bytes;
    out.free_in_buffer -= sizeof bytes;
    return;
  }
  for (int shift = 56; shift >= 0; shift -= 8)
    write_stuffed(info, static_cast<uint8_t>(word >> shift));
}

// `value` has no more than `size` bits, of which there are 0 to 32.
[[gnu::always_inline]] inline void put(j_compress_ptr info, Bits& out, uint32_t value, int size) {
  const int free = 64 - out.used;
  if (size < free) {
    out.bits = out.bits << size | value;
    out.used += size;
    return;
  }
  const int left = size - free;
  write_word(info, (free < 64 ? out.bits << free : 0) | uint64_t{value} >> left);
  out = {value, left};
}

void put(j_compress_ptr info, Coder& coder, uint32_t value, int size) {
  if (!coder.counts_only) put(info, coder.out, value, size);
}

void flush(j_compress_ptr info, Bits& out) {
  put(info, out, 0x7F, 7);  // the last byte is filled with ones
  for (; out.used >= 8; out.used -= 8)
    write_stuffed(info, static_cast<uint8_t>(out.bits >> (out.used - 8)));
  out.used = 0;
}

// A symbol, and bits that follow it.
[[gnu::always_inline]] inline void put_code(j_compress_ptr info, Bits& out, const Codes& codes,
                                            int symbol, uint32_t bits, int size) {
  const Code code = codes.of[symbol];
  if (code.size == 0) fail(info, JERR_HUFF_MISSING_CODE);
  put(info, out, uint32_t{code.bits} << size | bits, code.size + size);
}

// The same by table: 0 is of DC, 1 of AC.
void put_symbol(j_compress_ptr info, Coder& coder, int ac, int table, int symbol, uint32_t bits = 0,
                int size = 0) {
  if (coder.counts_only)
    ++coder.counts[ac][table].of[symbol];
  else
    put_code(info, coder.out, coder.codes[ac][table], symbol, bits, size);
}

int bit_width(int magnitude) {
  return std::bit_width(static_cast<unsigned>(magnitude));
}

// A number of `size` bits by its magnitude and a number of its sign: those that are negative have
// all bits inverted. No branch, which would be guessed wrong half of the time.
uint32_t signed_bits(int magnitude, int sign, int size) {
  return static_cast<uint32_t>(magnitude ^ sign >> 31) & ((1U << size) - 1);
}

void put_dc(j_compress_ptr info, Coder& coder, int table, int difference) {
  const int magnitude = std::abs(difference), size = bit_width(magnitude);
  if (size > 11) fail(info, JERR_BAD_DCT_COEF);
  put_symbol(info, coder, 0, table, size, signed_bits(magnitude, difference, size), size);
}

// Files have the numbers of a block by diagonals, back and forth. For each half of that order and
// each two rows of the block: which of the rows' bytes comes there, or none.
struct Shuffles {
  alignas(32) uint8_t of[2][4][32];
};

constexpr Shuffles shuffles_to_files() {
  Shuffles out{};
  for (auto& half : out.of)
    for (auto& rows : half)
      for (uint8_t& byte : rows) byte = 0x80;
  int place = 0;
  for (int sum = 0; sum < 2 * DCTSIZE - 1; ++sum)
    for (int i = std::max(0, sum - DCTSIZE + 1); i <= std::min(sum, DCTSIZE - 1); ++i, ++place) {
      const int row = sum % 2 == 0 ? sum - i : i, column = sum - row;
      out.of[place / 32][row / 2][place % 32] = static_cast<uint8_t>(row % 2 * DCTSIZE + column);
    }
  return out;
}
constexpr Shuffles kShuffles = shuffles_to_files();

__m256i load(const void* from) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}

// Which of a block's numbers, by the order of files, have this magnitude without their last `shift`
// bits.
[[gnu::always_inline]] inline uint64_t where(const JCOEF* block, int shift, int16_t magnitude) {
  const auto same = [&](int at) {
    const __m256i values =
        _mm256_srl_epi16(_mm256_abs_epi16(load(block + at)), _mm_cvtsi32_si128(shift));
    return _mm256_cmpeq_epi16(values, _mm256_set1_epi16(magnitude));
  };
  const __m256i first = _mm256_permute4x64_epi64(_mm256_packs_epi16(same(0), same(16)), 0xD8);
  const __m256i second = _mm256_permute4x64_epi64(_mm256_packs_epi16(same(32), same(48)), 0xD8);
  const __m256i rows[4] = {_mm256_permute2x128_si256(first, first, 0x00),
                           _mm256_permute2x128_si256(first, first, 0x11),
                           _mm256_permute2x128_si256(second, second, 0x00),
                           _mm256_permute2x128_si256(second, second, 0x11)};
  const auto half = [&](int at) {
    __m256i bytes = _mm256_setzero_si256();
    for (int i = 0; i < 4; ++i)
      bytes = _mm256_or_si256(bytes, _mm256_shuffle_epi8(rows[i], load(kShuffles.of[at][i])));
    return uint64_t{static_cast<uint32_t>(_mm256_movemask_epi8(bytes))};
  };
  return half(1) << 32 | half(0);
}

// The numbers that the scan has and that are not zero in it.
uint64_t in_scan(j_compress_ptr info, const JCOEF* block) {
  return ~where(block, info->Al, 0) & ~uint64_t{0} << info->Ss &
         ~uint64_t{0} >> (DCTSIZE2 - 1 - info->Se);
}

// A symbol and the bits that follow it, as many as the symbol's last four bits say.
struct Token {
  uint8_t symbol;
  uint16_t bits;
};

// What stands for those numbers of a block that `left` has, behind the one at `last`. How many
// tokens.
int list_tokens(j_compress_ptr info, const JCOEF* block, uint64_t left, int last,
                Token (&tokens)[DCTSIZE2]) {
  Token* next = tokens;
  for (; left != 0; left &= left - 1) {
    const int at = std::countr_zero(left), value = block[jpeg_natural_order[at]];
    const int magnitude = std::abs(value) >> info->Al, size = bit_width(magnitude);
    int run = at - last - 1;
    for (; run > 15; run -= 16) *next++ = {kZeros16, 0};
    if (size > 10) fail(info, JERR_BAD_DCT_COEF);
    *next++ = {static_cast<uint8_t>(run << 4 | size),
               static_cast<uint16_t>(signed_bits(magnitude, value, size))};
    last = at;
  }
  return static_cast<int>(next - tokens);
}

void put_tokens(j_compress_ptr info, Coder& coder, int table, std::span<const Token> tokens) {
  if (coder.counts_only) {
    for (const Token token : tokens) ++coder.counts[1][table].of[token.symbol];
    return;
  }
  const Codes& codes = coder.codes[1][table];
  Bits out = coder.out;  // a copy that registers hold
  for (const Token token : tokens)
    put_code(info, out, codes, token.symbol, token.bits, token.symbol & 15);
  coder.out = out;
}

void put_block(j_compress_ptr info, Coder& coder, const JCOEF* block,
               const jpeg_component_info& part, int& last_dc) {
  put_dc(info, coder, part.dc_tbl_no, block[0] - last_dc);
  last_dc = block[0];
  Token tokens[DCTSIZE2];
  const uint64_t there = ~where(block, 0, 0) & ~uint64_t{1};
  int count = list_tokens(info, block, there, 0, tokens);
  if (there >> (DCTSIZE2 - 1) == 0) tokens[count++] = {0, 0};
  put_tokens(info, coder, part.ac_tbl_no, {tokens, static_cast<size_t>(count)});
}

boolean put_sequential(j_compress_ptr info, JBLOCKROW* blocks) {
  Coder& coder = coder_of(info);
  for (int i = 0; i < info->blocks_in_MCU; ++i) {
    const int part = info->MCU_membership[i];
    put_block(info, coder, blocks[i][0], *info->cur_comp_info[part], coder.last_dc[part]);
  }
  return TRUE;
}

boolean put_first_dc(j_compress_ptr info, JBLOCKROW* blocks) {
  Coder& coder = coder_of(info);
  for (int i = 0; i < info->blocks_in_MCU; ++i) {
    const int part = info->MCU_membership[i], value = blocks[i][0][0] >> info->Al;
    put_dc(info, coder, info->cur_comp_info[part]->dc_tbl_no, value - coder.last_dc[part]);
    coder.last_dc[part] = value;
  }
  return TRUE;
}

boolean put_more_dc(j_compress_ptr info, JBLOCKROW* blocks) {
  Coder& coder = coder_of(info);
  for (int i = 0; i < info->blocks_in_MCU; ++i)
    put(info, coder, static_cast<uint32_t>(blocks[i][0][0] >> info->Al) & 1, 1);
  return TRUE;
}

void put_bits(j_compress_ptr info, Coder& coder, const uint8_t* bits, int count) {
  if (coder.counts_only) return;
  for (int i = 0; i < count; ++i) put(info, coder, bits[i], 1);
}

int ac_table(j_compress_ptr info) {
  return info->cur_comp_info[0]->ac_tbl_no;
}

// The empty blocks so far, as one symbol, and what they refine.
void put_empty_blocks(j_compress_ptr info, Coder& coder) {
  if (coder.empty_blocks == 0) return;
  const int size = bit_width(coder.empty_blocks) - 1;
  put_symbol(info, coder, 1, ac_table(info), size << 4, signed_bits(coder.empty_blocks, 0, size),
             size);
  coder.empty_blocks = 0;
  put_bits(info, coder, coder.kept_bits, coder.kept);
  coder.kept = 0;
}

boolean put_first_ac(j_compress_ptr info, JBLOCKROW* blocks) {
  Coder& coder = coder_of(info);
  const JCOEF* block = blocks[0][0];
  const uint64_t there = in_scan(info, block);
  if (there != 0) {
    put_empty_blocks(info, coder);
    Token tokens[DCTSIZE2];
    const int count = list_tokens(info, block, there, info->Ss - 1, tokens);
    put_tokens(info, coder, ac_table(info), {tokens, static_cast<size_t>(count)});
  }
  if (there >> info->Se == 0 && ++coder.empty_blocks == kMostEmptyBlocks)
    put_empty_blocks(info, coder);
  return TRUE;
}

boolean put_more_ac(j_compress_ptr info, JBLOCKROW* blocks) {
  Coder& coder = coder_of(info);
  const JCOEF* block = blocks[0][0];
  const int table = ac_table(info);
  const uint64_t is_new = in_scan(info, block) & where(block, info->Al, 1);
  // Bits of numbers that are known already follow the next symbol, or the empty blocks they end.
  uint8_t* bits = coder.kept_bits + coder.kept;
  int run = 0, count = 0, last = info->Ss - 1;
  const auto put_refined = [&](int symbol, uint32_t sign, int size) {
    put_empty_blocks(info, coder);
    put_symbol(info, coder, 1, table, symbol, sign, size);
    put_bits(info, coder, bits, count);
    bits = coder.kept_bits;
    count = 0;
  };
  for (uint64_t left = in_scan(info, block); left != 0; left &= left - 1) {
    const int at = std::countr_zero(left), value = block[jpeg_natural_order[at]];
    run += at - last - 1;
    last = at;
    for (; run > 15 && is_new >> at != 0; run -= 16) put_refined(kZeros16, 0, 0);
    if ((is_new >> at & 1) == 0) {
      bits[count++] = std::abs(value) >> info->Al & 1;
      continue;
    }
    put_refined(run << 4 | 1, value < 0 ? 0 : 1, 1);
    run = 0;
  }
  if (run > 0 || last < info->Se || count > 0) {
    ++coder.empty_blocks;
    coder.kept += count;
    if (coder.empty_blocks == kMostEmptyBlocks || coder.kept > kMostKept - DCTSIZE2 + 1)
      put_empty_blocks(info, coder);
  }
  return TRUE;
}

// Calls use(ac, number, table) for each table of the scan, once.
template <typename Use>
void for_tables(j_compress_ptr info, Use&& use) {
  bool seen[2][NUM_HUFF_TBLS] = {};
  const auto one = [&](int ac, int number) {
    if (number < 0 || number >= NUM_HUFF_TBLS) fail(info, JERR_NO_HUFF_TABLE);
    if (seen[ac][number]) return;
    seen[ac][number] = true;
    use(ac, number, ac != 0 ? info->ac_huff_tbl_ptrs[number] : info->dc_huff_tbl_ptrs[number]);
  };
  for (int i = 0; i < info->comps_in_scan; ++i) {
    if (info->Ss == 0 && info->Ah == 0) one(0, info->cur_comp_info[i]->dc_tbl_no);
    if (info->Se > 0) one(1, info->cur_comp_info[i]->ac_tbl_no);
  }
}

void start(j_compress_ptr info, boolean counts_only) {
  Coder& coder = coder_of(info);
  coder.counts_only = counts_only != FALSE;
  coder.out = {};
  coder.empty_blocks = coder.kept = 0;
  std::fill_n(coder.last_dc, MAX_COMPS_IN_SCAN, 0);
  if (info->progressive_mode)
    coder.calls.encode_mcu = info->Ss == 0 ? (info->Ah == 0 ? put_first_dc : put_more_dc)
                                           : (info->Ah == 0 ? put_first_ac : put_more_ac);
  for_tables(info, [&](int ac, int number, const JHUFF_TBL* table) {
    if (table == nullptr && !coder.counts_only) fail(info, JERR_NO_HUFF_TABLE);
    if (coder.counts_only)
      coder.counts[ac][number] = {};
    else
      coder.codes[ac][number] = codes_of(*table);
  });
}

void finish(j_compress_ptr info) {
  Coder& coder = coder_of(info);
  put_empty_blocks(info, coder);
  if (!coder.counts_only) return flush(info, coder.out);
  for_tables(info, [&](int ac, int number, JHUFF_TBL*& table) {
    if (table == nullptr) table = jpeg_alloc_huff_table(reinterpret_cast<j_common_ptr>(info));
    make_table(coder.counts[ac][number], *table);
  });
}

void make_coder(j_compress_ptr info) {
  auto* coder = static_cast<Coder*>(
      info->mem->alloc_large(reinterpret_cast<j_common_ptr>(info), JPOOL_IMAGE, sizeof(Coder)));
  coder->calls = {start, put_sequential, finish};
  info->entropy = &coder->calls;
}

}  // namespace
}  // namespace tenon::image

extern "C" {

void jinit_huff_encoder(j_compress_ptr info) {
  tenon::image::make_coder(info);
}

void jinit_phuff_encoder(j_compress_ptr info) {
  tenon::image::make_coder(info);
}

void jinit_arith_encoder(j_compress_ptr info) {
  tenon::image::fail(info, JERR_ARITH_NOTIMPL);
}

// Images keep all their colours.
void jinit_1pass_quantizer(j_decompress_ptr) {}
void jinit_2pass_quantizer(j_decompress_ptr) {}

// Of the library's vector code for the coders it has not got here.
extern const int jconst_huff_encode_one_block = 0;
void jsimd_huff_encode_one_block_sse2() {}
void jsimd_encode_mcu_AC_first_prepare_sse2() {}
void jsimd_encode_mcu_AC_refine_prepare_sse2() {}
}
