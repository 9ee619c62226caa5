#include <gtest/gtest.h>
#include <unistd.h>

#include "compiler/compile.h"
#include "ir/text.h"
#include "passes/pipeline_text.h"

namespace tenon {
namespace {

TEST(Reproducer, HoldsTheGraphAndThePipeline) {
  PassContext context;
  context.disabled = {"fuse-bias"};
  context.failed_pass = "fuse";
  context.failed_input =
      parse_graph(
          "graph @main (%x: f32[2]) { %w = const random(seed=1) : f32[100,2] %y = relu(%x) "
          "return (%y, %w) }")
          .value();
  const std::string path = testing::TempDir() + "repro" + std::to_string(::getpid()) + ".tn";
  const Error error = write_reproducer(internal_error("broken"), context, path);
  ASSERT_EQ(error.notes.size(), 1u);
  EXPECT_NE(error.notes[0].find(path), std::string::npos);
  const std::string text = read_text_file(path).value();
  ::unlink(path.c_str());
  EXPECT_EQ(pipeline_text(parse_pipeline(pipeline_of_text(text)).value()),
            "fuse{disable=fuse-bias}");
  EXPECT_EQ(print_graph(*parse_graph(text).value(), TextForm::kFull),
            print_graph(*context.failed_input, TextForm::kFull));
}

TEST(Reproducer, IsForFailedPassesOnly) {
  EXPECT_TRUE(write_reproducer(internal_error("broken"), {}).notes.empty());
}

}  // namespace
}  // namespace tenon
