// Writing JPEG files by libjpeg-turbo, with the settings of TensorFlow. As in jpeg.cpp, errors of
// the library jump back to a frame that owns nothing.
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <string>

// In this order: jpeglib.h wants the types of cstdio.
#include <jpeglib.h>

#include "image/image.h"

namespace tenon::image {
namespace {

constexpr std::string_view kXmpNamespace{"http://ns.adobe.com/xap/1.0/\0", 29};
constexpr size_t kMostXmp = 65533 - kXmpNamespace.size();

struct Writer {
  jpeg_error_mgr errors{};
  jpeg_compress_struct info{};
  std::jmp_buf jump{};
  unsigned char* file = nullptr;  // by malloc
  unsigned long size = 0;
  std::string xmp;

  Writer() = default;
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer() {
    jpeg_destroy_compress(&info);
    std::free(file);
  }
};

[[noreturn]] void on_error(j_common_ptr info) {
  std::longjmp(static_cast<Writer*>(info->client_data)->jump, 1);
}

bool write(Writer& writer, const Pixels& image, const JpegOptions& options) {
  if (setjmp(writer.jump) != 0) return false;
  jpeg_compress_struct& info = writer.info;
  jpeg_create_compress(&info);
  jpeg_mem_dest(&info, &writer.file, &writer.size);
  info.image_width = static_cast<JDIMENSION>(image.width);
  info.image_height = static_cast<JDIMENSION>(image.height);
  info.input_components = static_cast<int>(image.channels);
  info.in_color_space = image.channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_set_defaults(&info);
  info.optimize_coding = options.optimize_size ? TRUE : FALSE;
  info.density_unit = options.per_centimetre ? 2 : 1;
  info.X_density = static_cast<UINT16>(options.x_density);
  info.Y_density = static_cast<UINT16>(options.y_density);
  jpeg_set_quality(&info, options.quality, TRUE);
  if (options.progressive) jpeg_simple_progression(&info);
  if (!options.chroma_downsampling)
    for (int i = 0; i < info.num_components; ++i)
      info.comp_info[i].h_samp_factor = info.comp_info[i].v_samp_factor = 1;
  jpeg_start_compress(&info, TRUE);
  if (!writer.xmp.empty())
    jpeg_write_marker(&info, JPEG_APP0 + 1, reinterpret_cast<const JOCTET*>(writer.xmp.data()),
                      static_cast<unsigned>(writer.xmp.size()));
  const size_t stride = static_cast<size_t>(image.width * image.channels);
  while (info.next_scanline < info.image_height) {
    JSAMPLE* row = image.data.get() + info.next_scanline * stride;
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  return true;
}

}  // namespace

Result<std::string> encode_jpeg(const Pixels& image, const JpegOptions& options) {
  if (image.channels != 1 && image.channels != 3)
    return invalid_argument("a JPEG file has one or three channels");
  if (image.height < 1 || image.width < 1 || image.height > JPEG_MAX_DIMENSION ||
      image.width > JPEG_MAX_DIMENSION)
    return invalid_argument("an image for a JPEG file has 1 to 65500 rows and columns");
  if (options.quality < 0 || options.quality > 100)
    return invalid_argument("the quality of a JPEG file is 0 to 100");
  if (options.xmp.size() > kMostXmp)
    return invalid_argument("the metadata of a JPEG file is too long");
  Writer writer;
  writer.errors.error_exit = on_error;
  writer.errors.emit_message = [](j_common_ptr, int) {};
  writer.errors.reset_error_mgr = [](j_common_ptr) {};
  writer.info.err = &writer.errors;
  writer.info.client_data = &writer;
  if (!options.xmp.empty()) writer.xmp = std::string(kXmpNamespace) + options.xmp;
  if (!write(writer, image, options))
    return resource_exhausted("the JPEG library could not write an image");
  return std::string(reinterpret_cast<const char*>(writer.file), writer.size);
}

}  // namespace tenon::image
