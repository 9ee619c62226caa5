// Files of tests/fixtures/images, and small ones written out, by what is known of their pixels.
#include "image/image.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>

#include "base/bytes.h"
#include "base/hash.h"

namespace tenon::image {
namespace {

std::string fixture(const std::string& name) {
  std::ifstream in(std::string(TENON_SOURCE_DIR) + "/tests/fixtures/images/" + name,
                   std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string message(std::string_view file, const Options& options = {}) {
  const auto result = decode(file, options);
  return result.ok() ? "" : result.error().message;
}

TEST(Image, ReadsEveryFormat) {
  for (const char* name :
       {"photo.jpg", "photo_progressive.jpg", "grey.jpg", "colour.png", "interlaced.png",
        "palette.png", "depth16.png", "animation.gif", "picture.bmp"}) {
    const auto image = decode(fixture(name), {});
    ASSERT_TRUE(image.ok()) << name << ": " << image.error().message;
    EXPECT_EQ(image->height, 12) << name;
    EXPECT_EQ(image->width, 17) << name;
    EXPECT_EQ(image->channels, std::string(name) == "grey.jpg" ? 1 : 3) << name;
    EXPECT_EQ(image->frames, image->animation ? 2 : 1) << name;
  }
}

// The same pixels in formats that keep them.
TEST(Image, FormatsAgree) {
  const auto png = decode(fixture("colour.png"), {}), bmp = decode(fixture("picture.bmp"), {}),
             woven = decode(fixture("interlaced.png"), {}),
             deep = decode(fixture("depth16.png"), {});
  const auto gif = decode(fixture("animation.gif"), {.first_frame = true}),
             palette = decode(fixture("palette.png"), {});
  ASSERT_TRUE(png.ok() && bmp.ok() && woven.ok() && deep.ok() && gif.ok() && palette.ok());
  for (int64_t i = 0; i < png->samples(); ++i) {
    EXPECT_EQ(png->data[i], bmp->data[i]);
    EXPECT_EQ(png->data[i], woven->data[i]);
    EXPECT_EQ(png->data[i], deep->data[i]);
    EXPECT_EQ(palette->data[i], gif->data[i]);
  }
  EXPECT_EQ(gif->frames, 1);
}

TEST(Image, RefusesWhatIsDamaged) {
  EXPECT_EQ(message(""), "the image file is empty");
  EXPECT_EQ(message("hello"), "the data are no JPEG, PNG, GIF, BMP or PNM file");
  for (const char* name :
       {"photo.jpg", "colour.png", "palette.png", "animation.gif", "picture.bmp"}) {
    const std::string file = fixture(name);
    // The second frame of the GIF begins in its second half.
    for (size_t size = 0; size < file.size() / 3; ++size)
      EXPECT_NE(message(file.substr(0, size)), "") << name << " cut to " << size;
  }
  std::string wrong = fixture("colour.png");
  wrong[wrong.size() / 2] ^= 1;
  EXPECT_EQ(message(wrong), "a checksum in the PNG file is wrong");
  EXPECT_NE(message(fixture("photo.jpg"), {.channels = 4}), "");
  EXPECT_NE(message(fixture("animation.gif"), {.channels = 1}), "");
}

TEST(Image, RecoversTruncatedJpegFilesWhereAsked) {
  const std::string file = fixture("photo.jpg").substr(0, 680);
  EXPECT_EQ(message(file), "JPEG file: the file ends too early");
  EXPECT_EQ(message(file, {.recover_truncated = true}), "");
}

// Colours that change slowly, with edges and noise, so that blocks have few numbers and many.
Pixels drawn(int64_t height, int64_t width, int64_t channels) {
  Pixels image{.height = height, .width = width, .channels = channels};
  EXPECT_TRUE(image.allocate().ok());
  uint32_t random = 1;
  for (int64_t i = 0; i < image.samples(); ++i) {
    const int64_t c = i % channels, x = i / channels % width, y = i / channels / width;
    random = random * 1664525 + 1013904223;
    const int64_t noise = y > height / 2 && x > width / 2 ? random >> 24 : 0;
    image.data[i] = static_cast<uint8_t>(x + 2 * y + 50 * c + noise + (x / 16 % 3 == 0 ? 90 : 0));
  }
  return image;
}

// The bytes are those of the library's own coders, of every kind of file it writes.
TEST(Image, WritesJpegFilesByteForByte) {
  const struct {
    int64_t channels;
    JpegOptions options;
    size_t size;
    uint32_t checksum;
  } cases[] = {
      {1, {.quality = 75}, 14870, 0x5e794abf},
      {3, {.quality = 95}, 39466, 0xb932e483},
      {3, {.quality = 100, .chroma_downsampling = false}, 117958, 0x1e74359b},
      {3, {.quality = 60, .optimize_size = true}, 13988, 0xa5a13b0a},
      {1, {.quality = 90, .progressive = true}, 18895, 0x6be7988d},
      {3, {.quality = 95, .progressive = true}, 34713, 0xd06b0823},
      {3, {.quality = 3, .progressive = true, .chroma_downsampling = false}, 3054, 0xf5ad839d},
  };
  for (const auto& one : cases) {
    const auto file = encode_jpeg(drawn(219, 301, one.channels), one.options);
    ASSERT_TRUE(file.ok());
    EXPECT_EQ(file->size(), one.size);
    EXPECT_EQ(crc32c(as_bytes(*file)), one.checksum);
  }
}

// How numbers are coded does not change them.
TEST(Image, EveryWayToCodeJpegFilesGivesTheSamePixels) {
  const Pixels image = drawn(120, 90, 3);
  const auto read = [&](const JpegOptions& options) {
    return decode(encode_jpeg(image, options).value(), {}).value();
  };
  const Pixels plain = read({});
  for (const JpegOptions& options :
       {JpegOptions{.progressive = true}, JpegOptions{.optimize_size = true}})
    EXPECT_TRUE(
        std::equal(plain.data.get(), plain.data.get() + plain.samples(), read(options).data.get()));
}

TEST(Image, ReadsTheHeaderAlone) {
  const auto header = read_jpeg_header(fixture("photo.jpg"));
  ASSERT_TRUE(header.ok());
  EXPECT_EQ(header->height, 12);
  EXPECT_EQ(header->width, 17);
  EXPECT_EQ(header->channels, 3);
  EXPECT_EQ(header->data, nullptr);
}

}  // namespace
}  // namespace tenon::image
