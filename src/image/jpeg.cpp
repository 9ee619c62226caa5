// JPEG by libjpeg-turbo. The library reports errors by a call that must not return: everything that
// outlives one of its calls is in a Reader, outside the frame that is jumped back to.
#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <string>
#include <vector>

// In this order: jpeglib.h wants the types of cstdio.
#include <jpeglib.h>

// The list of error codes, and once more for their texts: the library's own table of them comes
// with functions that print.
#include <jerror.h>
#define JMESSAGE(code, string) string,
#define JCOPYRIGHT_SHORT ""
#define JVERSION ""
constexpr const char* kMessages[] = {
#include <jerror.h>
};

#include "image/image.h"

namespace tenon::image {
namespace {

constexpr int kMostScans = 500;  // of progressive files; real ones have about ten

struct Reader {
  jpeg_error_mgr errors{};
  jpeg_progress_mgr progress{};
  jpeg_decompress_struct info{};
  std::jmp_buf jump{};
  std::string error;
  bool cut_off = false;
  Pixels image;
  std::vector<JSAMPLE> row;  // of CMYK

  Reader() = default;
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() { jpeg_destroy_decompress(&info); }

  static Reader& of(j_common_ptr info) { return *static_cast<Reader*>(info->client_data); }
  [[noreturn]] void fail(const char* message) {
    error = message;
    std::longjmp(jump, 1);
  }
};

[[noreturn]] void on_error(j_common_ptr info) {
  const int code = info->err->msg_code;
  if (code < 0 || code >= static_cast<int>(std::size(kMessages)))
    Reader::of(info).fail("unknown error of the JPEG library");
  const int* p = info->err->msg_parm.i;
  char text[JMSG_LENGTH_MAX];
  std::snprintf(text, sizeof text, kMessages[code], p[0], p[1], p[2], p[3], p[4], p[5]);
  Reader::of(info).fail(text);
}

void on_message(j_common_ptr info, int) {
  if (info->err->msg_code == JWRN_JPEG_EOF) Reader::of(info).cut_off = true;
}

void on_progress(j_common_ptr info) {
  Reader& reader = Reader::of(info);
  if (reader.info.input_scan_number > kMostScans) reader.fail("too many scans");
}

// One row of CMYK as RGB; Adobe's files hold the inks inverted.
void cmyk_to_rgb(const Reader& reader, uint8_t* out) {
  const auto ink = [&](int v) { return reader.info.saw_Adobe_marker != 0 ? v : 255 - v; };
  for (JDIMENSION x = 0; x < reader.info.output_width; ++x) {
    const JSAMPLE* in = reader.row.data() + size_t{x} * 4;
    for (int k = 0; k < 3; ++k) *out++ = static_cast<uint8_t>(ink(in[3]) * ink(in[k]) / 255);
  }
}

// Reads the header and sets what the image will be.
bool read_header(Reader& reader, std::string_view file, const Options& options) {
  if (setjmp(reader.jump) != 0) return false;
  jpeg_decompress_struct& info = reader.info;
  jpeg_create_decompress(&info);
  info.progress = &reader.progress;
  jpeg_mem_src(&info, reinterpret_cast<const unsigned char*>(file.data()), file.size());
  jpeg_read_header(&info, TRUE);
  const bool cmyk = info.jpeg_color_space == JCS_CMYK || info.jpeg_color_space == JCS_YCCK;
  const int channels = options.channels == 0 ? std::min(info.num_components, 3) : options.channels;
  info.out_color_space = channels == 1 ? JCS_GRAYSCALE : cmyk ? JCS_CMYK : JCS_RGB;
  info.do_fancy_upsampling = options.smooth_upsampling ? TRUE : FALSE;
  info.dct_method = options.fast_dct ? JDCT_IFAST : JDCT_ISLOW;
  info.scale_num = 1;
  info.scale_denom = static_cast<unsigned>(options.ratio);
  jpeg_calc_output_dimensions(&info);
  reader.image.height = info.output_height;
  reader.image.width = info.output_width;
  reader.image.channels = channels;
  return true;
}

bool read_rows(Reader& reader, bool recover) {
  if (setjmp(reader.jump) != 0) return false;
  jpeg_decompress_struct& info = reader.info;
  jpeg_start_decompress(&info);
  const bool cmyk = info.out_color_space == JCS_CMYK;
  const size_t stride = static_cast<size_t>(reader.image.width * reader.image.channels);
  while (info.output_scanline < info.output_height) {
    uint8_t* out = reader.image.data.get() + info.output_scanline * stride;
    JSAMPLE* row = cmyk ? reader.row.data() : out;
    jpeg_read_scanlines(&info, &row, 1);
    if (reader.cut_off && !recover) reader.fail("the file ends too early");
    if (cmyk) cmyk_to_rgb(reader, out);
  }
  return true;
}

Error failure(const Reader& reader) {
  return invalid_argument("JPEG file: " + reader.error);
}

Status open(Reader& reader, std::string_view file, const Options& options) {
  if (options.channels != 0 && options.channels != 1 && options.channels != 3)
    return invalid_argument("a JPEG file gives one or three channels");
  reader.errors.error_exit = on_error;
  reader.errors.emit_message = on_message;
  reader.errors.reset_error_mgr = [](j_common_ptr) {};
  reader.progress.progress_monitor = on_progress;
  reader.info.err = &reader.errors;
  reader.info.client_data = &reader;
  if (!read_header(reader, file, options)) return failure(reader);
  return {};
}

}  // namespace

Result<Pixels> decode_jpeg(std::string_view file, const Options& options) {
  Reader reader;
  TRY(open(reader, file, options));
  TRY(reader.image.allocate());
  if (reader.info.out_color_space == JCS_CMYK)
    reader.row.resize(size_t{reader.info.output_width} * 4);
  if (!read_rows(reader, options.recover_truncated)) return failure(reader);
  return std::move(reader.image);
}

Result<Pixels> read_jpeg_header(std::string_view file) {
  Reader reader;
  TRY(open(reader, file, {}));
  // As stored: CMYK has four.
  reader.image.channels = reader.info.num_components;
  return std::move(reader.image);
}

}  // namespace tenon::image
