#include "import/tensorflow/bundle.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/hash.h"
#include "import/tensorflow/saved_model.h"

namespace tenon::tf {
namespace {

namespace fs = std::filesystem;

// A folder of its own that goes away with the test.
struct Folder {
  Folder() {
    std::string pattern = (fs::temp_directory_path() / "tenon_test_XXXXXX").string();
    path = mkdtemp(pattern.data());
  }
  ~Folder() { fs::remove_all(path); }
  void write(const std::string& name, std::string_view content) const {
    fs::create_directories(fs::path(path / name).parent_path());
    std::ofstream(path / name, std::ios::binary) << content;
  }
  fs::path path;
};

template <typename T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  return out + static_cast<char>(value);
}
std::string entry(std::string_view key, std::string_view value) {
  return varint(0) + varint(key.size()) + varint(value.size()) + std::string(key) +
         std::string(value);
}
std::string block(const std::string& entries) {
  return entries + raw<uint32_t>(0) + raw<uint32_t>(1);
}
std::string finished(std::string content, char kind = 0) {
  content.push_back(kind);
  return content + raw(mask_crc(crc32c(as_bytes(content))));
}
// A table of one data block; `kind` 1 stores it as one Snappy literal.
std::string table(const std::vector<std::pair<std::string, std::string>>& entries, char kind = 0) {
  std::string data;
  for (const auto& [key, value] : entries) data += entry(key, value);
  data = block(data);
  if (kind == 1)
    data = varint(data.size()) + '\xf4' + raw(static_cast<uint16_t>(data.size() - 1)) + data;
  std::string file = finished(data, kind);
  const std::string data_handle = varint(0) + varint(data.size());
  const size_t meta_at = file.size();
  const std::string meta = block("");
  file += finished(meta);
  const size_t index_at = file.size();
  const std::string index = block(entry("zz", data_handle));
  file += finished(index);
  std::string footer =
      varint(meta_at) + varint(meta.size()) + varint(index_at) + varint(index.size());
  footer.resize(40);
  return file + footer + raw<uint64_t>(0xdb4775248b80fb57ull);
}
const std::string kHeader("\x08\x01\x1a\x02\x08\x01", 6);

std::string dims(std::vector<int> sizes) {
  std::string out;
  for (const int size : sizes) out += "\x12\x02\x08" + std::string(1, static_cast<char>(size));
  return "\x12" + varint(out.size()) + out;
}
std::string bundle_entry(int dtype, std::vector<int> shape, int offset, const std::string& content,
                         const std::string& slices = "") {
  return "\x08" + varint(dtype) + dims(std::move(shape)) + "\x20" + varint(offset) + "\x28" +
         varint(content.size()) + "\x35" + raw(mask_crc(crc32c(as_bytes(content)))) + slices;
}
std::string floats(std::initializer_list<float> values) {
  std::string out;
  for (const float value : values) out += raw(value);
  return out;
}
std::vector<float> floats(const TensorValue& value) {
  std::vector<float> out(value.data.bytes.size() / 4);
  std::memcpy(out.data(), value.data.bytes.data(), value.data.bytes.size());
  return out;
}

TEST(TensorflowTable, ReadsPlainAndCompressedBlocks) {
  for (const char kind : {0, 1}) {
    const std::string file = table({{"", "h"}, {"a", "1"}, {"b/c", "22"}}, kind);
    auto entries = read_table(as_bytes(file));
    ASSERT_TRUE(entries.ok()) << entries.error().to_string();
    EXPECT_EQ(*entries, (TableEntries{{"", "h"}, {"a", "1"}, {"b/c", "22"}}));
  }
}

TEST(TensorflowTable, RefusesEveryFlippedBitAndEveryCut) {
  const std::string file = table({{"", "h"}, {"a", "1"}});
  for (size_t i = 0; i < file.size(); ++i) {
    std::string damaged = file;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    (void)read_table(as_bytes(damaged));  // must not crash; padding and the metaindex are not read
    EXPECT_FALSE(read_table(as_bytes(file).first(i)).ok());
  }
  EXPECT_FALSE(read_table(as_bytes(table({{"b", "h"}, {"a", "1"}}))).ok());
}

TEST(TensorflowBundle, ReadsTensorsSlicesAndStrings) {
  const Folder folder;
  const std::string plain = floats({1, 2, 3}), left = floats({1, 2}), right = floats({3, 4});
  // A [2,2] variable kept as two columns.
  const std::string slices = std::string("\x3a\x08\x0a\x00\x0a\x04\x08\x00\x10\x01", 10) +
                             std::string("\x3a\x08\x0a\x00\x0a\x04\x08\x01\x10\x01", 10);
  const std::string text = std::string("\x02\x00", 2);
  uint32_t crc = crc32c(as_bytes(raw<uint32_t>(2) + raw<uint32_t>(0)));
  const std::string checksum = raw(mask_crc(crc));
  crc = crc32c(as_bytes(checksum + "hi"), crc);
  const std::string stored_text = text + checksum + "hi";
  std::string text_entry = bundle_entry(7, {2}, 28, stored_text);
  text_entry.replace(text_entry.size() - 4, 4, raw(mask_crc(crc)));
  const TensorSlice first{{0, -1}, {0, 1}}, second{{0, -1}, {1, 1}};
  folder.write("v.index", table({{"", kHeader},
                                 {slice_key("part", first), bundle_entry(1, {2, 1}, 12, left)},
                                 {slice_key("part", second), bundle_entry(1, {2, 1}, 20, right)},
                                 {"part", bundle_entry(1, {2, 2}, 0, "", slices)},
                                 {"text", text_entry},
                                 {"w", bundle_entry(1, {3}, 0, plain)}}));
  folder.write("v.data-00000-of-00001", plain + left + right + stored_text);
  auto bundle = CheckpointBundle::open((folder.path / "v").string());
  ASSERT_TRUE(bundle.ok()) << bundle.error().to_string();
  EXPECT_EQ(bundle->keys(), (std::vector<std::string_view>{"part", "text", "w"}));
  auto w = bundle->read("w");
  ASSERT_TRUE(w.ok()) << w.error().to_string();
  EXPECT_EQ(floats(*w), (std::vector<float>{1, 2, 3}));
  auto part = bundle->read("part");
  ASSERT_TRUE(part.ok()) << part.error().to_string();
  EXPECT_EQ(floats(*part), (std::vector<float>{1, 3, 2, 4}));
  auto strings = bundle->read("text");
  ASSERT_TRUE(strings.ok()) << strings.error().to_string();
  EXPECT_EQ(strings->strings, (std::vector<std::string>{"hi", ""}));
  EXPECT_EQ(bundle->read("nope").error().code, Code::not_found);
}

TEST(TensorflowBundle, NamesTheMissingOrDamagedShard) {
  const Folder folder;
  const std::string content = floats({1, 2, 3});
  folder.write("v.index", table({{"", kHeader}, {"w", bundle_entry(1, {3}, 0, content)}}));
  const std::string prefix = (folder.path / "v").string();
  const auto read = [&] { return CheckpointBundle::open(prefix)->read("w").error(); };
  EXPECT_EQ(read().code, Code::not_found);
  EXPECT_NE(read().message.find("v.data-00000-of-00001"), std::string::npos);
  EXPECT_NE(read().message.find("'w'"), std::string::npos);
  folder.write("v.data-00000-of-00001", content.substr(1));
  EXPECT_EQ(read().code, Code::invalid_model);
  folder.write("v.data-00000-of-00001", "x" + content.substr(1));
  EXPECT_NE(read().message.find("checksum"), std::string::npos);
  folder.write("old", "a V1 checkpoint");
  EXPECT_EQ(CheckpointBundle::open((folder.path / "old").string()).error().code, Code::unsupported);
}

TEST(TensorflowBundle, EncodesSliceKeysAsTensorflowDoes) {
  EXPECT_EQ(slice_key("ab", {{0, 10}, {64, -1}}), std::string("\x00"
                                                              "ab"
                                                              "\x00\x01"
                                                              "\x01\x02"
                                                              "\x80\x8a"
                                                              "\xc0\x40\x7f",
                                                              12));
  EXPECT_EQ(slice_key(std::string("\0\xff", 2), {}), std::string("\0\0\xff\xff\0\0\1\0", 8));
}

TEST(TensorflowSavedModel, ChoosesTheServingGraphAndListsSignatures) {
  const Folder folder;
  folder.write("saved_model.pbtxt", R"(
    saved_model_schema_version: 1
    meta_graphs { meta_info_def { tags: "train" } graph_def { node { name: "t" op: "NoOp" } } }
    meta_graphs {
      meta_info_def { stripped_op_list { op { name: "Add" } } tags: "serve" tensorflow_version: "2.4.1" }
      graph_def { node { name: "x" op: "Placeholder" } }
      signature_def { key: "serving_default" value {
        inputs { key: "x" value { name: "x:0" dtype: DT_FLOAT tensor_shape { dim { size: -1 } } } }
        outputs { key: "y" value { name: "y:0" dtype: DT_FLOAT tensor_shape { unknown_rank: true } } } } }
      asset_file_def { tensor_info { name: "asset:0" } filename: "vocab.txt" }
      object_graph_def { nodes { children { node_id: 1 local_name: "w" } user_object { identifier: "m" } }
                         nodes { variable { dtype: DT_FLOAT name: "dense/kernel" } } }
    })");
  folder.write("assets/vocab.txt", "a\nb\n");
  auto model = load_model(folder.path.string());
  ASSERT_TRUE(model.ok()) << model.error().to_string();
  EXPECT_EQ(model->meta.graph.nodes[0].name, "x");
  EXPECT_EQ(model->meta.tensorflow_version, "2.4.1");
  ASSERT_NE(model->signature("serving_default"), nullptr);
  EXPECT_EQ(describe_signature("s", *model->signature("serving_default")),
            "s(x: float32[-1]) -> (y: float32?)");
  EXPECT_EQ(model->meta.objects[1].name, "dense/kernel");
  EXPECT_TRUE(model->asset_path("vocab.txt").ok());
  EXPECT_FALSE(model->asset_path("../saved_model.pbtxt").ok());
  EXPECT_EQ(model->asset_path("other.txt").error().code, Code::not_found);
  EXPECT_FALSE(model->variables.has_value());
  const Error wrong_tag = load_model(folder.path.string(), "gpu").error();
  EXPECT_NE(wrong_tag.message.find("[train] and [serve]"), std::string::npos);
}

fs::path shared_models() {
  if (const char* given = std::getenv("TENON_SHARED_MODELS")) return given;
  return fs::path(TENON_SOURCE_DIR) / ".." / "shared" / "models";
}

TEST(TensorflowSharedModels, EveryModelAndVariableIsRead) {
  const fs::path root = shared_models() / "tf";
  if (!fs::exists(root)) GTEST_SKIP() << "no models at " << root << "; set TENON_SHARED_MODELS";
  int graphs = 0, variables = 0;
  for (const auto& file : fs::recursive_directory_iterator(root)) {
    const std::string extension = file.path().extension().string();
    if (file.path().filename() == "fingerprint.pb" || (extension != ".pb" && extension != ".pbtxt"))
      continue;
    auto model = load_model(file.path().string());
    ASSERT_TRUE(model.ok()) << file.path() << ": " << model.error().to_string();
    ++graphs;
    for (const NodeDef& node : model->meta.graph.nodes) {
      if (node.op != "Const") continue;
      auto proto = node.attrs.get_tensor("value");
      ASSERT_TRUE(proto.ok()) << file.path() << ": " << proto.error().to_string();
      auto value = tensor_value(*proto, model->owner);
      ASSERT_TRUE(value.ok()) << file.path() << ": " << value.error().to_string();
    }
    if (!model->variables) continue;
    for (const auto key : model->variables->keys()) {
      auto value = model->variables->read(key);
      ASSERT_TRUE(value.ok()) << file.path() << " " << key << ": " << value.error().to_string();
      if (key == "_CHECKPOINTABLE_OBJECT_GRAPH") {
        ASSERT_TRUE(decode_object_graph(as_bytes(value->strings.at(0))).ok());
      }
      ++variables;
    }
  }
  EXPECT_GT(graphs, 40);
  EXPECT_GT(variables, 100);
}

}  // namespace
}  // namespace tenon::tf
