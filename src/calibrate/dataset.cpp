#include "calibrate/dataset.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "base/bytes.h"
#include "base/hash.h"
#include "tensor/npy.h"
#include "verify/sample_inputs.h"

namespace tenon {
namespace {

namespace fs = std::filesystem;

std::string_view bare(std::string_view name) {
  return name.ends_with(":0") ? name.substr(0, name.size() - 2) : name;
}

enum class Kind : uint8_t { npy, npz, picture, record };
constexpr std::string_view kKindNames[] = {".npy files", ".npz archives", "pictures",
                                           "TFRecord files"};

std::optional<Kind> kind_of(const fs::path& path) {
  std::string ending = path.extension().string();
  std::ranges::transform(ending, ending.begin(), [](unsigned char c) { return std::tolower(c); });
  if (ending == ".npy") return Kind::npy;
  if (ending == ".npz") return Kind::npz;
  for (const std::string_view e : {".jpg", ".jpeg", ".png", ".bmp", ".gif"})
    if (ending == e) return Kind::picture;
  if (path.filename().string().find(".tfrecord") != std::string::npos) return Kind::record;
  return std::nullopt;
}

// The rows [first, first + n) of an array's first dimension, without a copy.
Tensor rows_of(const Tensor& t, int64_t first, int64_t n) {
  std::vector<int64_t> dims = t.dims();
  const int64_t row = dims[0] == 0 ? 0 : t.elements() / dims[0];
  dims[0] = n;
  const auto* data =
      static_cast<const char*>(t.raw()) + static_cast<size_t>(first * row) * dtype_size(t.dtype());
  // The array itself is kept alive by the view.
  return Tensor::view(t.dtype(), dims, data, std::make_shared<Tensor>(t));
}

// Arrays by input, of .npy and .npz files.
class ArrayDataset final : public Dataset {
 public:
  ArrayDataset(std::vector<std::string> files, std::vector<runtime::PortInfo> ports)
      : files_(std::move(files)), ports_(std::move(ports)) {}

  int64_t size() const override { return size_; }
  std::string description() const override {
    return files_.size() == 1 ? files_[0] : fmt::format("{} files of arrays", files_.size());
  }

  // Counts the samples of a single file, so that mistakes in it are found at once.
  Status open() {
    if (files_.size() != 1) return {};
    TRY(open_file());
    size_ = samples_;
    return {};
  }

  Result<std::optional<Sample>> next() override {
    while (at_ == samples_) {
      if (next_file_ == files_.size()) return std::optional<Sample>();
      TRY(open_file());
    }
    Sample sample;
    const std::string& file = files_[next_file_ - 1];
    sample.place = samples_ == 1 ? file : fmt::format("{}, sample {}", file, at_);
    sample.inputs.reserve(ports_.size());
    for (size_t i = 0; i < ports_.size(); ++i)
      sample.inputs.push_back(by_row_[i] ? rows_of(arrays_[i], at_ * batch_, batch_) : arrays_[i]);
    ++at_;
    return std::optional(std::move(sample));
  }

 private:
  Status open_file() {
    const std::string& file = files_[next_file_++];
    if (Status s = read(file); !s.ok()) return std::move(s).error().at(file);
    return {};
  }

  Status read(const std::string& file) {
    arrays_.assign(ports_.size(), Tensor());
    if (file.ends_with(".npz")) {
      TRY(read_archive(file));
    } else {
      if (ports_.size() != 1)
        return invalid_argument(
            fmt::format("the model has {} inputs ({}); give .npz archives with an array for each, "
                        "by name",
                        ports_.size(), names()));
      arrays_[0] = TRY(read_npy(file));
    }
    at_ = samples_ = 0;
    by_row_.assign(ports_.size(), false);
    int64_t rows = -1;
    for (size_t i = 0; i < ports_.size(); ++i) {
      const int64_t n = TRY(fit(i));
      if (n < 0) continue;
      if (rows >= 0 && n != rows)
        return invalid_argument(fmt::format("the array for '{}' has {} samples, one before it {}",
                                            ports_[i].name, n, rows));
      rows = n;
    }
    samples_ = rows < 0 ? 1 : rows / batch_;
    if (rows >= 0 && samples_ == 0)
      return invalid_argument(rows == 0 ? std::string("there are no samples in it")
                                        : fmt::format("there are {} samples in it, but the model "
                                                      "takes {} at a time",
                                                      rows, batch_));
    return {};
  }

  Status read_archive(const std::string& file) {
    const auto archive = TRY(read_npz(file));
    for (size_t i = 0; i < ports_.size(); ++i) {
      auto found = std::ranges::find_if(
          archive, [&](const auto& a) { return bare(a.first) == bare(ports_[i].name); });
      if (found == archive.end() && ports_.size() == 1 && archive.size() == 1 &&
          archive.begin()->first == "arr_0")
        found = archive.begin();
      if (found == archive.end()) {
        std::vector<std::string> there;
        there.reserve(archive.size());
        for (const auto& [name, tensor] : archive) there.push_back(name);
        return invalid_argument(fmt::format("there is no array for input '{}'; there are: {}",
                                            ports_[i].name, fmt::join(there, ", ")));
      }
      arrays_[i] = found->second;
    }
    return {};
  }

  // Checks array i against its input; its rows where it holds several samples or one with a batch
  // dimension, else -1.
  Result<int64_t> fit(size_t i) {
    const TensorType& want = ports_[i].type;
    Tensor& t = arrays_[i];
    const auto refuse = [&] {
      return invalid_argument(fmt::format("the array for '{}' is {}, expected {}", ports_[i].name,
                                          t.type().to_string(), want.to_string()));
    };
    if (t.dtype() != want.dtype) return refuse();
    if (!want.shape.ranked()) return -1;
    const int rank = want.shape.rank();
    const bool bare_sample = rank > 0 && t.rank() == rank - 1;
    if (!bare_sample && t.rank() != rank) return refuse();
    for (int d = 1; d < rank; ++d)
      if (const Dim dim = want.shape[d];
          dim.known() && dim.size() != t.dim(bare_sample ? d - 1 : d))
        return refuse();
    if (rank == 0) return -1;
    if (bare_sample) {
      std::vector<int64_t> dims = t.dims();
      dims.insert(dims.begin(), 1);
      t = t.reshaped(dims);
    }
    batch_ = want.shape[0].size_or(1);
    if (batch_ < 1) return refuse();
    by_row_[i] = true;
    return t.dim(0);
  }

  std::string names() const {
    std::string list;
    for (const auto& port : ports_) list += (list.empty() ? "" : ", ") + port.name;
    return list;
  }

  std::vector<std::string> files_;
  std::vector<runtime::PortInfo> ports_;
  std::vector<Tensor> arrays_;
  std::vector<bool> by_row_;
  size_t next_file_ = 0;
  int64_t at_ = 0, samples_ = 0, batch_ = 1, size_ = -1;
};

class PictureDataset final : public Dataset {
 public:
  PictureDataset(std::vector<std::string> files, runtime::PortInfo port, Preprocess how)
      : files_(std::move(files)), port_(std::move(port)), how_(std::move(how)) {}

  int64_t size() const override { return static_cast<int64_t>(files_.size()); }
  std::string description() const override {
    return fmt::format("{} pictures ({})", files_.size(), how_.to_string());
  }
  Result<std::optional<Sample>> next() override {
    if (at_ == files_.size()) return std::optional<Sample>();
    const std::string& file = files_[at_++];
    const auto mapped = TRY(MappedFile::open(file));
    auto x = picture_input(as_text(mapped->bytes()), port_.type, how_);
    if (!x.ok()) return std::move(x).error().at(file);
    return std::optional(Sample{{*std::move(x)}, file});
  }

 private:
  std::vector<std::string> files_;
  runtime::PortInfo port_;
  Preprocess how_;
  size_t at_ = 0;
};

class RandomDataset final : public Dataset {
 public:
  RandomDataset(std::vector<runtime::PortInfo> ports, uint32_t seed)
      : ports_(std::move(ports)), seed_(seed) {}
  int64_t size() const override { return -1; }
  std::string description() const override {
    return fmt::format("random numbers in [0, 1), integers 0 and 1, from seed {}", seed_);
  }
  Result<std::optional<Sample>> next() override {
    const auto n = static_cast<uint32_t>(at_++);
    constexpr OpenSizes kSizes{.batch = 1, .other = 16, .image = kUsualImage};
    return std::optional(Sample{TRY(sample_inputs(ports_, kSizes, seed_ + 7919 * n, true)),
                                fmt::format("random sample {}", n)});
  }

 private:
  std::vector<runtime::PortInfo> ports_;
  uint32_t seed_;
  int64_t at_ = 0;
};

// The files of a folder and of the folders in it, sorted, by kind.
Result<std::map<Kind, std::vector<std::string>>> files_in(const std::string& folder) {
  std::map<Kind, std::vector<std::string>> files;
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error))
    if (const auto kind = kind_of(it->path()); kind && it->is_regular_file(error))
      files[*kind].push_back(it->path().string());
  if (error)
    return io_error(fmt::format("cannot read the folder '{}': {}", folder, error.message()));
  for (auto& [kind, list] : files) std::ranges::sort(list);
  return files;
}

}  // namespace

Result<std::unique_ptr<Dataset>> open_dataset(const std::string& path,
                                              std::vector<runtime::PortInfo> ports,
                                              const Preprocess& preprocess) {
  std::error_code error;
  Kind kind = Kind::npy;
  std::vector<std::string> files;
  if (fs::is_directory(path, error)) {
    auto found = TRY(files_in(path));
    if (found.empty())
      return invalid_argument(
          fmt::format("there are no data in the folder '{}'; expected .npy, .npz, .jpg, .png or "
                      ".tfrecord files",
                      path));
    if (found.size() > 1) {
      std::vector<std::string_view> kinds;
      kinds.reserve(found.size());
      for (const auto& [k, list] : found) kinds.push_back(kKindNames[static_cast<size_t>(k)]);
      return invalid_argument(fmt::format("the folder '{}' has {}; give a folder of one kind", path,
                                          fmt::join(kinds, " and ")));
    }
    kind = found.begin()->first;
    files = std::move(found.begin()->second);
  } else {
    TRY(MappedFile::open(path));
    const auto known = kind_of(path);
    if (!known)
      return invalid_argument(fmt::format(
          "'{}' is no .npy, .npz, picture or .tfrecord file, and no folder of them", path));
    kind = *known;
    files = {path};
  }
  if (kind != Kind::picture && preprocess.to_string() != Preprocess().to_string())
    return invalid_argument(
        fmt::format("--preprocess is for pictures; '{}' has {}, which are taken as they are", path,
                    kKindNames[static_cast<size_t>(kind)]));
  if (kind == Kind::record) return record_dataset(std::move(files), std::move(ports));
  if (kind == Kind::picture) {
    if (ports.size() != 1)
      return invalid_argument(
          fmt::format("pictures feed a model with one input; this one has {}", ports.size()));
    return std::make_unique<PictureDataset>(std::move(files), std::move(ports[0]), preprocess);
  }
  auto arrays = std::make_unique<ArrayDataset>(std::move(files), std::move(ports));
  TRY(arrays->open());
  return arrays;
}

Result<std::string> data_fingerprint(const std::string& path) {
  // Files, evenly from all, and bytes at either end of them.
  constexpr size_t kFiles = 64, kEnd = 1 << 16;
  std::error_code error;
  std::vector<std::string> files{path};
  if (fs::is_directory(path, error)) {
    files.clear();
    for (auto& [kind, list] : TRY(files_in(path)))
      files.insert(files.end(), list.begin(), list.end());
  }
  uint64_t hash = files.size(), size = 0;
  const size_t step = std::max<size_t>(1, files.size() / kFiles);
  for (size_t i = 0; i < files.size(); ++i) {
    size += fs::file_size(files[i], error);
    if (i % step != 0) continue;
    const auto file = TRY(MappedFile::open(files[i]));
    const Bytes bytes = file->bytes();
    hash = hash64(bytes.first(std::min(bytes.size(), kEnd)), hash);
    hash = hash64(bytes.last(std::min(bytes.size(), kEnd)), hash);
  }
  return fmt::format("{} bytes, {:016x}", size, hash);
}

std::unique_ptr<Dataset> random_dataset(std::vector<runtime::PortInfo> ports, uint32_t seed) {
  return std::make_unique<RandomDataset>(std::move(ports), seed);
}

Status check_finite(const Sample& sample, std::span<const runtime::PortInfo> ports) {
  for (size_t i = 0; i < sample.inputs.size() && i < ports.size(); ++i) {
    const Tensor& t = sample.inputs[i];
    if (t.is_list() || !is_float(t.dtype())) continue;
    for (int64_t k = 0; k < t.elements(); ++k)
      if (const double v = t.real_at(k); !std::isfinite(v))
        return invalid_argument(
                   fmt::format("the data for input '{}' hold {} at element {}; calibration needs "
                               "finite numbers",
                               ports[i].name, v, k))
            .at(sample.place);
  }
  return {};
}

}  // namespace tenon
