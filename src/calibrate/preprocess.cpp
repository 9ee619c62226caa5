#include "calibrate/preprocess.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace tenon {
namespace {

constexpr int64_t kMaxSide = 1 << 15;

std::optional<double> number(std::string_view text) {
  double v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(v))
    return std::nullopt;
  return v;
}
// Also 1/255.
std::optional<double> ratio(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return number(text);
  const auto a = number(text.substr(0, slash)), b = number(text.substr(slash + 1));
  return a && b && *b != 0 ? std::optional(*a / *b) : std::nullopt;
}

Result<std::vector<double>> numbers(std::string_view text, std::string_view part) {
  std::vector<double> values;
  while (true) {
    const size_t end = text.find(';');
    const auto v = ratio(text.substr(0, end));
    if (!v)
      return invalid_argument(fmt::format(
          "'{}' in preprocessing is not of numbers apart by ';', such as mean=0.485;0.456;0.406",
          part));
    values.push_back(*v);
    if (end == std::string_view::npos) return values;
    text.remove_prefix(end + 1);
  }
}

Result<std::pair<int64_t, int64_t>> sizes(std::string_view text, std::string_view part) {
  const size_t x = text.find('x');
  const auto h = number(text.substr(0, x));
  const auto w = x == std::string_view::npos ? std::optional(0.0) : number(text.substr(x + 1));
  const auto fits = [](double v) { return v >= 0 && v <= kMaxSide && v == std::floor(v); };
  if (!h || !w || !fits(*h) || !fits(*w) || *h == 0 || (x != std::string_view::npos && *w == 0))
    return invalid_argument(
        fmt::format("'{}' in preprocessing is no size; expected e.g. 224 or 224x320", part));
  return std::pair{static_cast<int64_t>(*h), static_cast<int64_t>(*w)};
}

// Bilinear, pixel centres at half, as most tools do without antialiasing.
std::vector<float> resized(const std::vector<float>& x, int64_t h, int64_t w, int64_t c,
                           int64_t to_h, int64_t to_w) {
  if (h == to_h && w == to_w) return x;
  std::vector<float> y(static_cast<size_t>(to_h * to_w * c));
  const auto place = [](int64_t o, int64_t in, int64_t out) {
    const double at =
        (static_cast<double>(o) + 0.5) * static_cast<double>(in) / static_cast<double>(out) - 0.5;
    return std::clamp(at, 0.0, static_cast<double>(in - 1));
  };
  for (int64_t i = 0; i < to_h; ++i) {
    const double py = place(i, h, to_h);
    const auto y0 = static_cast<int64_t>(py), y1 = std::min(y0 + 1, h - 1);
    const auto fy = static_cast<float>(py - static_cast<double>(y0));
    for (int64_t j = 0; j < to_w; ++j) {
      const double px = place(j, w, to_w);
      const auto x0 = static_cast<int64_t>(px), x1 = std::min(x0 + 1, w - 1);
      const auto fx = static_cast<float>(px - static_cast<double>(x0));
      for (int64_t k = 0; k < c; ++k) {
        const auto at = [&](int64_t r, int64_t s) {
          return x[static_cast<size_t>((r * w + s) * c + k)];
        };
        const float top = at(y0, x0) + (at(y0, x1) - at(y0, x0)) * fx;
        const float bottom = at(y1, x0) + (at(y1, x1) - at(y1, x0)) * fx;
        y[static_cast<size_t>((i * to_w + j) * c + k)] = top + (bottom - top) * fy;
      }
    }
  }
  return y;
}

// What the model wants of a picture.
struct Wanted {
  bool channels_first = false;
  Dim height = Dim::unknown(), width = Dim::unknown();
  int64_t channels = 3;
};

Result<Wanted> wanted_of(const TensorType& type, const Preprocess& how) {
  const Shape& s = type.shape;
  if ((type.dtype != DType::f32 && type.dtype != DType::u8) || !s.ranked() || s.rank() != 4 ||
      (s[0].known() && s[0].size() != 1))
    return invalid_argument(
        fmt::format("pictures fit an input of f32 or u8 with a batch, two sides and channels; the "
                    "model's is {}",
                    type.to_string()));
  const auto few = [](Dim d) {
    return d.known() && (d.size() == 1 || d.size() == 3 || d.size() == 4);
  };
  Wanted w;
  w.channels_first = how.layout == Preprocess::Layout::nchw ||
                     (how.layout == Preprocess::Layout::automatic && !few(s[3]) && few(s[1]));
  const Dim channels = w.channels_first ? s[1] : s[3];
  if (channels.known() && !few(channels))
    return invalid_argument(
        fmt::format("a picture has 1, 3 or 4 channels; the model's input is {} (layout={} was "
                    "taken)",
                    type.to_string(), w.channels_first ? "nchw" : "nhwc"));
  w.channels = channels.size_or(3);
  w.height = w.channels_first ? s[2] : s[1];
  w.width = w.channels_first ? s[3] : s[2];
  return w;
}

}  // namespace

std::string Preprocess::to_string() const {
  return fmt::format("resize={}x{} crop={}x{} scale={} mean={} std={} bgr={} layout={}", height,
                     width, crop_height, crop_width, scale, fmt::join(mean, ";"),
                     fmt::join(deviation, ";"), bgr, static_cast<int>(layout));
}

Result<Preprocess> parse_preprocess(const std::string& text) {
  Preprocess p;
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::string_view part = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    const size_t equals = part.find('=');
    const std::string_view name = part.substr(0, equals);
    const std::string_view value =
        equals == std::string_view::npos ? std::string_view() : part.substr(equals + 1);
    if (name == "resize") {
      std::tie(p.height, p.width) = TRY(sizes(value, part));
    } else if (name == "crop") {
      std::tie(p.crop_height, p.crop_width) = TRY(sizes(value, part));
      if (p.crop_width == 0) p.crop_width = p.crop_height;
    } else if (name == "scale") {
      p.scale = TRY(numbers(value, part))[0];
    } else if (name == "mean") {
      p.mean = TRY(numbers(value, part));
    } else if (name == "std") {
      p.deviation = TRY(numbers(value, part));
      if (std::ranges::find(p.deviation, 0.0) != p.deviation.end())
        return invalid_argument("a std of 0 in preprocessing");
    } else if (name == "layout" && (value == "nhwc" || value == "nchw")) {
      p.layout = value == "nhwc" ? Preprocess::Layout::nhwc : Preprocess::Layout::nchw;
    } else if (name == "channels" && (value == "rgb" || value == "bgr")) {
      p.bgr = value == "bgr";
    } else {
      return invalid_argument(fmt::format(
          "'{}' in preprocessing is none of resize=SIZE, crop=SIZE, scale=NUMBER, mean=A;B;C, "
          "std=A;B;C, layout=nhwc|nchw, channels=rgb|bgr",
          part));
    }
  }
  return p;
}

Result<Tensor> picture_input(std::string_view file, const TensorType& type, const Preprocess& how) {
  const Wanted wanted = TRY(wanted_of(type, how));
  image::Options options;
  options.channels = static_cast<int>(wanted.channels);
  options.first_frame = true;
  const image::Pixels pixels = TRY(image::decode(file, options));
  int64_t h = pixels.height, w = pixels.width;
  const int64_t c = pixels.channels;
  if (c != wanted.channels)
    return invalid_argument(
        fmt::format("the picture has {} channels, the model's input {}", c, wanted.channels));
  std::vector<float> x(static_cast<size_t>(h * w * c));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(pixels.data[i]);
  int64_t to_h = how.height, to_w = how.width;
  if (to_h == 0 && how.crop_height == 0) {
    to_h = wanted.height.size_or(h);
    to_w = wanted.width.size_or(w);
  } else if (to_h == 0) {
    to_h = h;
    to_w = w;
  } else if (to_w == 0) {
    const double ratio = static_cast<double>(how.height) / static_cast<double>(std::min(h, w));
    to_h = std::clamp<int64_t>(std::llround(static_cast<double>(h) * ratio), 1, kMaxSide);
    to_w = std::clamp<int64_t>(std::llround(static_cast<double>(w) * ratio), 1, kMaxSide);
  }
  x = resized(x, h, w, c, to_h, to_w);
  h = to_h;
  w = to_w;
  const int64_t out_h = how.crop_height > 0 ? how.crop_height : h;
  const int64_t out_w = how.crop_width > 0 ? how.crop_width : w;
  if (out_h > h || out_w > w)
    return invalid_argument(fmt::format("a crop of {}x{} out of {}x{}", out_h, out_w, h, w));
  if (wanted.height.size_or(out_h) != out_h || wanted.width.size_or(out_w) != out_w)
    return invalid_argument(fmt::format("--preprocess makes pictures of {}x{}, the model takes {}",
                                        out_h, out_w, type.to_string()));
  const int64_t top = (h - out_h) / 2, left = (w - out_w) / 2;
  const auto of = [&](const std::vector<double>& list, int64_t k, double fallback) {
    return list.empty() ? fallback : list[std::min(static_cast<size_t>(k), list.size() - 1)];
  };
  const std::vector<int64_t> dims = wanted.channels_first
                                        ? std::vector<int64_t>{1, c, out_h, out_w}
                                        : std::vector<int64_t>{1, out_h, out_w, c};
  Tensor y = TRY(Tensor::allocate(type.dtype, dims));
  for (int64_t i = 0; i < out_h; ++i)
    for (int64_t j = 0; j < out_w; ++j)
      for (int64_t k = 0; k < c; ++k) {
        const int64_t from = how.bgr && k < 3 ? 2 - k : k;
        const auto pixel = static_cast<double>(
            x[static_cast<size_t>(((top + i) * w + left + j) * c + std::min(from, c - 1))]);
        const double v = (pixel * how.scale - of(how.mean, k, 0)) / of(how.deviation, k, 1);
        const int64_t at =
            wanted.channels_first ? (k * out_h + i) * out_w + j : (i * out_w + j) * c + k;
        if (type.dtype == DType::f32)
          y.mutable_data<float>()[at] = static_cast<float>(v);
        else
          y.mutable_data<uint8_t>()[at] =
              static_cast<uint8_t>(std::clamp(std::nearbyint(v), 0.0, 255.0));
      }
  return y;
}

}  // namespace tenon
