// TFRecord files: records one after the other, each with its length before it and checksums that
// are not looked at; damage shows in the lengths and in the messages.
#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "calibrate/dataset.h"
#include "ops/parse_example.h"

namespace tenon {
namespace {

std::string feature_name(const std::string& input) {
  return input.substr(0, input.rfind(':'));
}

class RecordDataset final : public Dataset {
 public:
  RecordDataset(std::vector<std::string> files, std::vector<runtime::PortInfo> ports)
      : files_(std::move(files)), ports_(std::move(ports)) {}

  int64_t size() const override { return -1; }
  std::string description() const override {
    return fmt::format("{} TFRecord files", files_.size());
  }

  Result<std::optional<Sample>> next() override {
    while (true) {
      if (file_ == nullptr) {
        if (next_file_ == files_.size()) return std::optional<Sample>();
        file_ = TRY(MappedFile::open(files_[next_file_++]));
        offset_ = 0;
        record_ = 0;
      }
      const Bytes bytes = file_->bytes();
      if (offset_ == bytes.size()) {
        file_ = nullptr;
        continue;
      }
      constexpr size_t kHeader = 12, kFooter = 4;
      const std::string place = fmt::format("{}, record {}", file_->path(), record_++);
      const size_t left = bytes.size() - offset_;
      const uint64_t length = left < kHeader ? 0 : load_le<uint64_t>(bytes.data() + offset_);
      if (left < kHeader + kFooter || length > left - kHeader - kFooter)
        return invalid_argument(
                   "the file ends within a record: this is no TFRecord file, or a "
                   "part of one")
            .at(place);
      const auto text = as_text(bytes.subspan(offset_ + kHeader, static_cast<size_t>(length)));
      offset_ += kHeader + static_cast<size_t>(length) + kFooter;
      auto inputs = parse(std::string(text));
      if (!inputs.ok()) return std::move(inputs).error().at(place);
      return std::optional(Sample{*std::move(inputs), place});
    }
  }

 private:
  Result<std::vector<Tensor>> parse(std::string record) {
    ParseExample op;
    Tensor text = TRY(Tensor::allocate(DType::string, std::vector<int64_t>{1}));
    text.mutable_data<std::string>()[0] = std::move(record);
    std::vector<Tensor> operands{text};
    for (const auto& port : ports_) {
      TensorType type = port.type;
      const Shape& s = type.shape;
      if (type.is_list || !s.ranked() || s.rank() == 0 || s[0].size_or(1) != 1)
        return unsupported(fmt::format("input '{}' ({}) has no batch dimension of 1 for a record",
                                       port.name, type.to_string()));
      type.shape.dims().erase(type.shape.dims().begin());
      if (!std::ranges::all_of(type.shape.dims(), &Dim::known))
        return invalid_argument(fmt::format(
            "input '{}' is {}, and a record does not say the sizes that are open there; "
            "give them with --input-shape {}:-1,…",
            port.name, port.type.to_string(), port.name));
      op.dense_keys.push_back(feature_name(port.name));
      op.dense_types.push_back(type.to_string());
      operands.push_back(TRY(Tensor::zeros(type.dtype, std::vector<int64_t>{0})));
    }
    return evaluate(*make_op(op), operands, static_cast<int>(ports_.size()));
  }

  std::vector<std::string> files_;
  std::vector<runtime::PortInfo> ports_;
  std::shared_ptr<const MappedFile> file_;
  size_t next_file_ = 0, offset_ = 0;
  int64_t record_ = 0;
};

}  // namespace

std::unique_ptr<Dataset> record_dataset(std::vector<std::string> files,
                                        std::vector<runtime::PortInfo> ports) {
  return std::make_unique<RecordDataset>(std::move(files), std::move(ports));
}

}  // namespace tenon
