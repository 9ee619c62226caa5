// Files of tests/fixtures/images, and small ones written out, by what is known of their pixels.
#include "image/image.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

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
