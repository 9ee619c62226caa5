#include "base/bytes.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

namespace tenon {
namespace {

namespace fs = std::filesystem;

class Files : public testing::Test {
 protected:
  void SetUp() override { fs::create_directories(folder_); }
  void TearDown() override { fs::remove_all(folder_); }
  std::string path(const char* name) const { return (folder_ / name).string(); }
  size_t entries() const {
    return static_cast<size_t>(
        std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }

 private:
  fs::path folder_ = fs::temp_directory_path() / ("tenon-bytes-" + std::to_string(::getpid()));
};

TEST_F(Files, AreReplacedAsAWhole) {
  const std::string file = path("a");
  for (const std::string_view text : {"first", "second, longer"}) {
    ASSERT_TRUE(write_file_atomically(file, as_bytes(text)).ok());
    EXPECT_EQ(*read_text_file(file), text);
  }
  EXPECT_EQ(entries(), 1u);
}

TEST_F(Files, OfAnotherKindStay) {
  const Status directory = write_file_atomically(path("."), as_bytes(std::string_view("x")));
  ASSERT_FALSE(directory.ok());
  EXPECT_EQ(directory.error().code, Code::invalid_argument);
  const Status full = write_file_atomically("/dev/full", as_bytes(std::string_view("x")));
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.error().code, Code::io);
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
  EXPECT_EQ(entries(), 0u);
}

TEST_F(Files, ThatAreNamedPipesAreRefusedAtOnce) {
  const std::string pipe = path("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const auto mapped = MappedFile::open(pipe);
  ASSERT_FALSE(mapped.ok());
  EXPECT_EQ(mapped.error().code, Code::invalid_argument);
}

TEST_F(Files, InAFolderThatIsNotThere) {
  const Status status = write_file_atomically(path("none/a"), as_bytes(std::string_view("x")));
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, Code::io);
}

}  // namespace
}  // namespace tenon
