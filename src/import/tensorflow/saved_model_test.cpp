// SavedModels written as text: ports of their signatures, assets and tables, and what is said of
// files that are none.
#include "import/tensorflow/saved_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "import/importer.h"
#include "ir/interpret.h"

namespace tenon::tf {
namespace {

namespace fs = std::filesystem;

struct Folder {
  fs::path path;
  Folder() {
    std::string pattern = (fs::temp_directory_path() / "tenon_test_XXXXXX").string();
    path = mkdtemp(pattern.data());
  }
  ~Folder() { fs::remove_all(path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  void write(const std::string& name, std::string_view content) const {
    fs::create_directories((path / name).parent_path());
    std::ofstream(path / name, std::ios::binary) << content;
  }
  // A SavedModel of these nodes and further fields of its meta graph.
  void write_model(const std::string& nodes, const std::string& rest) const {
    write("saved_model.pbtxt",
          "saved_model_schema_version: 1 meta_graphs { meta_info_def { tags: "
          "'serve' } graph_def { versions { producer: 1000 } " +
              nodes + "} " + rest + "}");
  }
};

std::string node(const std::string& name, const std::string& op, const std::string& rest) {
  return "node { name: '" + name + "' op: '" + op + "' " + rest + " } ";
}

std::string type_attr(const std::string& key, const std::string& type) {
  return "attr { key: '" + key + "' value { type: " + type + " } } ";
}

std::string constant(const std::string& name, const std::string& type, const std::string& shape,
                     const std::string& values) {
  return node(name, "Const",
              type_attr("dtype", type) + "attr { key: 'value' value { tensor { dtype: " + type +
                  " tensor_shape { " + shape + " } " + values + " } } }");
}

std::string outputs_only(const std::string& key, const std::string& tensor) {
  return "signature_def { key: '" + key + "' value { outputs { key: 'y' value { name: '" + tensor +
         "' dtype: DT_FLOAT } } } } ";
}

std::vector<Tensor> run(const Folder& folder, const std::vector<Tensor>& inputs) {
  auto imported = import_tensorflow(folder.path.string(), {});
  EXPECT_TRUE(imported.ok()) << (imported.ok() ? "" : imported.error().to_string());
  if (!imported.ok() || imported->functions.empty()) return {};
  auto results = interpret(*imported->functions[0].graph, inputs);
  EXPECT_TRUE(results.ok()) << (results.ok() ? "" : results.error().to_string());
  return results.ok() ? *results : std::vector<Tensor>();
}

std::string error_of(const std::string& path) {
  auto imported = import_tensorflow(path, {});
  return imported.ok() ? "imported" : imported.error().to_string();
}

TEST(TensorflowSavedModel, ASparseOrCompositeTensorIsAPortForEachOfItsTensors) {
  const Folder folder;
  const auto placeholder = [](const std::string& name, const std::string& type) {
    return node(name, "Placeholder", type_attr("dtype", type));
  };
  folder.write_model(placeholder("at", "DT_INT64") + placeholder("of", "DT_FLOAT") +
                         placeholder("size", "DT_INT64") + placeholder("flat", "DT_FLOAT") +
                         placeholder("splits", "DT_INT64") + node("neg", "Neg", "input: 'of'") +
                         node("twice", "AddV2", "input: 'flat' input: 'flat'"),
                     R"(signature_def { key: "serving_default" value {
        inputs { key: "s" value { dtype: DT_FLOAT tensor_shape { dim { size: -1 } dim { size: 4 } }
          coo_sparse { values_tensor_name: "of:0" indices_tensor_name: "at:0"
                       dense_shape_tensor_name: "size:0" } } }
        inputs { key: "r" value { composite_tensor {
          components { name: "flat:0" dtype: DT_FLOAT tensor_shape { dim { size: -1 } } }
          components { name: "splits:0" dtype: DT_INT64 tensor_shape { dim { size: -1 } } } } } }
        outputs { key: "n" value { dtype: DT_FLOAT
          coo_sparse { values_tensor_name: "neg:0" indices_tensor_name: "at:0"
                       dense_shape_tensor_name: "size:0" } } }
        outputs { key: "t" value { composite_tensor {
          components { name: "twice:0" dtype: DT_FLOAT }
          components { name: "splits:0" dtype: DT_INT64 } } } } } })");
  auto imported = import_tensorflow(folder.path.string(), {});
  ASSERT_TRUE(imported.ok()) << imported.error().to_string();
  ASSERT_EQ(imported->functions.size(), 1u);
  const ImportedFunction& f = imported->functions[0];
  EXPECT_EQ(f.input_names,
            (std::vector<std::string>{"r/0", "r/1", "s/indices", "s/values", "s/dense_shape"}));
  EXPECT_EQ(f.output_names,
            (std::vector<std::string>{"n/indices", "n/values", "n/dense_shape", "t/0", "t/1"}));
  const auto type = [&](size_t i) { return f.graph->inputs()[i]->type(); };
  EXPECT_EQ(type(2).dtype, DType::i64);
  EXPECT_EQ(type(2).shape[1], Dim(2));  // of a matrix
  EXPECT_EQ(type(3).dtype, DType::f32);
  EXPECT_EQ(type(4).shape[0], Dim(2));
  const std::vector<int64_t> splits{0, 1, 2}, size{3, 4};
  const std::vector<float> flat{1, 2}, values{5};
  Tensor places = Tensor::vector(std::vector<int64_t>{2, 3}).reshaped({1, 2});
  auto results =
      interpret(*f.graph, std::vector<Tensor>{Tensor::vector(flat), Tensor::vector(splits), places,
                                              Tensor::vector(values), Tensor::vector(size)});
  ASSERT_TRUE(results.ok()) << results.error().to_string();
  EXPECT_EQ((*results)[1].data<float>()[0], -5.f);
  EXPECT_EQ((*results)[2].data<int64_t>()[0], 3);
  EXPECT_EQ((*results)[3].data<float>()[1], 4.f);
  EXPECT_EQ((*results)[4].data<int64_t>()[2], 2);
}

TEST(TensorflowSavedModel, AnAssetThatIsReadIsAConstant) {
  const Folder folder;
  const std::string asset =
      "asset_file_def { tensor_info { name: 'path:0' } filename: 'words.txt' } ";
  folder.write_model(constant("path", "DT_STRING", "", "string_val: '/elsewhere/words.txt'") +
                         node("y", "ReadFile", "input: 'path'"),
                     asset + outputs_only("serving_default", "y:0"));
  EXPECT_NE(error_of(folder.path.string()).find("assets/words.txt' is missing"), std::string::npos);
  folder.write("assets/words.txt", "a\nb\n");
  const auto results = run(folder, {});
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].data<std::string>()[0], "a\nb\n");
}

// A table of words of a file that is not there, and of the numbers of their lines.
TEST(TensorflowSavedModel, ATableWhoseFileIsMissingSaysSo) {
  const Folder folder;
  folder.write_model(
      constant("path", "DT_STRING", "", "string_val: 'words.txt'") +
          constant("default", "DT_INT64", "", "int64_val: -1") +
          node("table", "HashTableV2",
               type_attr("key_dtype", "DT_STRING") + type_attr("value_dtype", "DT_INT64")) +
          node("fill", "InitializeTableFromTextFileV2",
               "input: 'table' input: 'path' attr { key: 'key_index' value { i: -2 } } "
               "attr { key: 'value_index' value { i: -1 } }") +
          node("x", "Placeholder", type_attr("dtype", "DT_STRING")) +
          node("y", "LookupTableFindV2", "input: 'table' input: 'x' input: 'default'"),
      "asset_file_def { tensor_info { name: 'path:0' } filename: 'words.txt' } signature_def { "
      "key: 'serving_default' value { inputs { key: 'x' value { name: 'x:0' dtype: DT_STRING } } "
      "outputs { key: 'y' value { name: 'y:0' dtype: DT_INT64 } } } }");
  const std::string error = error_of(folder.path.string());
  EXPECT_NE(error.find("assets/words.txt' is missing"), std::string::npos) << error;
  EXPECT_NE(error.find("while filling table 'table'"), std::string::npos) << error;
  folder.write("assets/words.txt", "a\nb\n");
  const auto results = run(folder, {Tensor::vector(std::vector<std::string>{"b", "c"})});
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].to_ints(), (std::vector<int64_t>{1, -1}));
}

TEST(TensorflowSavedModel, ValuesOfATableMayBeVectors) {
  const Folder folder;
  const std::string types = type_attr("key_dtype", "DT_INT64") +
                            type_attr("value_dtype", "DT_FLOAT") +
                            "attr { key: 'value_shape' value { shape { dim { size: 2 } } } } ";
  folder.write_model(
      node("table", "MutableHashTableOfTensorsV2", types) +
          constant("keys", "DT_INT64", "dim { size: 2 }", "int64_val: 7 int64_val: 9") +
          constant("values", "DT_FLOAT", "dim { size: 2 } dim { size: 2 }",
                   "float_val: 1 float_val: 2 float_val: 3 float_val: 4") +
          constant("default", "DT_FLOAT", "dim { size: 2 }", "float_val: -1 float_val: -2") +
          node("fill", "LookupTableImportV2", "input: 'table' input: 'keys' input: 'values'") +
          node("x", "Placeholder", type_attr("dtype", "DT_INT64")) +
          node("y", "LookupTableFindV2", "input: 'table' input: 'x' input: 'default'"),
      "signature_def { key: 'serving_default' value { inputs { key: 'x' value { name: 'x:0' dtype: "
      "DT_INT64 tensor_shape { dim { size: -1 } } } } outputs { key: 'y' value { name: 'y:0' "
      "dtype: DT_FLOAT } } } }");
  const auto results = run(folder, {Tensor::vector(std::vector<int64_t>{9, 8, 7})});
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].dims(), (std::vector<int64_t>{3, 2}));
  const std::vector<float> wanted{3, 4, -1, -2, 1, 2};
  EXPECT_TRUE(std::ranges::equal(results[0].span<float>(), wanted));
}

TEST(TensorflowSavedModel, SignaturesThatInitialiseAreNotTheUsers) {
  const Folder folder;
  folder.write_model(constant("init", "DT_FLOAT", "", "float_val: 1"),
                     outputs_only("__saved_model_init_op", "init:0"));
  EXPECT_NE(error_of(folder.path.string()).find("has no signatures"), std::string::npos);
}

TEST(TensorflowSavedModel, CheckpointsAreToldFromModels) {
  const Folder folder;
  folder.write("ck/model.ckpt.index", std::string(100, '\0'));
  folder.write("ck/model.ckpt.data-00000-of-00001", "weights");
  folder.write("ck/checkpoint", "model_checkpoint_path: 'model.ckpt'");
  for (const char* name : {"ck", "ck/model.ckpt", "ck/model.ckpt.index", "ck/checkpoint",
                           "ck/model.ckpt.data-00000-of-00001"}) {
    const std::string error = error_of((folder.path / name).string());
    EXPECT_NE(error.find("this is a TensorFlow checkpoint"), std::string::npos) << error;
    EXPECT_NE(error.find(name), std::string::npos) << error;
  }
  EXPECT_EQ(error_of((folder.path / "none").string()).find("checkpoint"), std::string::npos);
  folder.write("ck/model.ckpt.meta", "");
  EXPECT_NE(error_of((folder.path / "ck").string()).find("give that: "), std::string::npos);
}

std::string placeholder(const std::string& name) {
  return node(name, "Placeholder",
              type_attr("dtype", "DT_FLOAT") + "attr { key: 'shape' value { shape {} } } ");
}

TEST(TensorflowSavedModel, TheMetaGraphIsTheOneForCpusAndNotForDevicesBesides) {
  const auto tagged = [](const std::string& tags, const std::string& output) {
    return "meta_graphs { meta_info_def { " + tags + " } graph_def { versions { producer: 1000 } " +
           constant(output, "DT_FLOAT", "", "float_val: 1") + " } " +
           outputs_only("serving_default", output + ":0") + " } ";
  };
  const auto chosen = [](const std::string& metas) {
    const Folder folder;
    folder.write("saved_model.pbtxt", "saved_model_schema_version: 1 " + metas);
    auto model = load_model(folder.path.string());
    return model.ok() ? std::string(model->meta.graph.nodes[0].name) : model.error().message;
  };
  const std::string tpu = tagged("tags: 'serve' tags: 'tpu'", "tpu");
  const std::string plain = tagged("", "plain"), train = tagged("tags: 'train'", "train");
  EXPECT_EQ(chosen(tpu + tagged("tags: 'serve'", "serve") + plain), "serve");
  EXPECT_EQ(chosen(train + plain), "plain");
  EXPECT_EQ(chosen(train + plain + tpu), "tpu");
  EXPECT_EQ(chosen(train), "train");
  EXPECT_EQ(chosen(train + tagged("tags: 'eval'", "eval")),
            "the SavedModel has no graph tagged 'serve'; the tags there are [train] and [eval]");
}

TEST(TensorflowSavedModel, AGraphBesideItsCheckpointIsAModel) {
  const Folder folder;
  folder.write("model.ckpt.meta",
               "graph_def { versions { producer: 1000 } " + placeholder("x") +
                   node("y", "Relu", "input: 'x' " + type_attr("T", "DT_FLOAT")) +
                   constant("saved", "DT_STRING", "", "string_val: 'name'") +
                   node("save/control_dependency", "Identity",
                        "input: 'saved' " + type_attr("T", "DT_STRING")) +
                   "}");
  auto model = import_tensorflow((folder.path / "model.ckpt.meta").string(), {});
  ASSERT_TRUE(model.ok()) << model.error().to_string();
  EXPECT_EQ(model->report.format, "TensorFlow MetaGraphDef");
  ASSERT_EQ(model->functions.size(), 1u);
  EXPECT_EQ(model->functions[0].output_names, std::vector<std::string>{"y"});
}

}  // namespace
}  // namespace tenon::tf
