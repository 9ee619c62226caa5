// Parts of libjpeg-turbo that its code refers to and nothing here asks for: defined here, the
// archive's do not come into the runtime (37 kB). Files are not written with arithmetic coding, and
// pixels are not read as places in a palette.
#include <cstdio>

// In this order: jpeglib.h wants the types of cstdio, and is wanted by jerror.h.
#include <jerror.h>
#include <jpeglib.h>

// As in jpegint.h, which is not among the headers that are installed.
extern "C" {
void jinit_arith_encoder(j_compress_ptr info);
void jinit_1pass_quantizer(j_decompress_ptr info);
void jinit_2pass_quantizer(j_decompress_ptr info);

void jinit_arith_encoder(j_compress_ptr info) {
  ERREXIT(info, JERR_ARITH_NOTIMPL);
}
void jinit_1pass_quantizer(j_decompress_ptr info) {
  ERREXIT(info, JERR_NOT_COMPILED);
}
void jinit_2pass_quantizer(j_decompress_ptr info) {
  ERREXIT(info, JERR_NOT_COMPILED);
}
}
