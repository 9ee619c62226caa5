#include "base/elf.h"

#include <elf.h>

namespace tenon {

bool is_elf(Bytes file) {
  constexpr std::string_view kMagic =
      "\x7f"
      "ELF";
  return as_text(file).starts_with(kMagic);
}

bool is_elf_cut_off(Bytes file) {
  if (file.size() < sizeof(Elf64_Ehdr)) return true;
  const auto header = load_le<Elf64_Ehdr>(file.data());
  if (header.e_ident[EI_CLASS] != ELFCLASS64) return false;
  const uint64_t tables = uint64_t{header.e_shnum} * header.e_shentsize;
  return header.e_shoff > file.size() || tables > file.size() - header.e_shoff;
}

}  // namespace tenon
