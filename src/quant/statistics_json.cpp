// Statistics as a file.
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "quant/statistics.h"

namespace tenon::quant {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kFormat = "tenon statistics 1";

Json to_object(const TensorStatistics& t) {
  Json json{{"count", t.count}, {"batches", t.batches},         {"min", t.min},
            {"max", t.max},     {"average_min", t.average_min}, {"average_max", t.average_max},
            {"sum", t.sum},     {"sum_squares", t.sum_squares}, {"not_finite", t.not_finite}};
  json["histogram"] = {{"width", t.histogram.width()},
                       {"first", t.histogram.first()},
                       {"counts", t.histogram.counts()}};
  if (!t.channel_sum.empty())
    json["channels"] = {
        {"count", t.channel_count}, {"sum", t.channel_sum}, {"max_abs", t.channel_max_abs}};
  return json;
}

// Reads members of an object with their kinds checked; nlohmann's own accessors throw.
class Reader {
 public:
  Reader(const Json& json, std::string place) : json_(json), place_(std::move(place)) {
    if (!json.is_object()) fail("an object");
  }

  const Json* member(const char* name) {
    const auto it = json_.is_object() ? json_.find(name) : json_.end();
    return it == json_.end() ? nullptr : &*it;
  }
  void read(const char* name, double& out) {
    const Json* v = member(name);
    if (v == nullptr || !v->is_number()) return fail(fmt::format("a number '{}'", name));
    out = v->get<double>();
    if (!std::isfinite(out)) fail(fmt::format("a finite '{}'", name));
  }
  void read(const char* name, int64_t& out) {
    const Json* v = member(name);
    if (v == nullptr || !v->is_number_integer()) return fail(fmt::format("an integer '{}'", name));
    out = v->get<int64_t>();
  }
  void read(const char* name, std::string& out) {
    const Json* v = member(name);
    if (v == nullptr || !v->is_string()) return fail(fmt::format("a text '{}'", name));
    out = v->get<std::string>();
  }
  void read(const char* name, bool& out) {
    const Json* v = member(name);
    if (v == nullptr || !v->is_boolean()) return fail(fmt::format("true or false '{}'", name));
    out = v->get<bool>();
  }
  template <typename T>
  void read(const char* name, std::vector<T>& out) {
    const Json* v = member(name);
    if (v == nullptr || !v->is_array()) return fail(fmt::format("a list '{}'", name));
    for (const Json& item : *v) {
      if (!item.is_number() || (std::is_unsigned_v<T> && !item.is_number_unsigned()))
        return fail(fmt::format("numbers in '{}'", name));
      out.push_back(item.get<T>());
    }
  }
  void fail(const std::string& expected) {
    if (status_.ok())
      status_ = invalid_argument(fmt::format("statistics: expected {}{}", expected,
                                             place_.empty() ? "" : " in " + place_));
  }
  Status status() const { return status_; }

 private:
  const Json& json_;
  std::string place_;
  Status status_;
};

Result<TensorStatistics> tensor_from(const Json& json, const std::string& name) {
  TensorStatistics t;
  Reader r(json, fmt::format("tensor '{}'", name));
  r.read("count", t.count);
  r.read("batches", t.batches);
  r.read("min", t.min);
  r.read("max", t.max);
  r.read("average_min", t.average_min);
  r.read("average_max", t.average_max);
  r.read("sum", t.sum);
  r.read("sum_squares", t.sum_squares);
  r.read("not_finite", t.not_finite);
  const Json* histogram = r.member("histogram");
  const Json none;
  Reader h(histogram == nullptr ? none : *histogram, fmt::format("histogram of '{}'", name));
  double width = 0;
  int64_t first = 0;
  std::vector<uint64_t> counts;
  h.read("width", width);
  h.read("first", first);
  h.read("counts", counts);
  if (width < 0 || counts.size() > static_cast<size_t>(Histogram::kMaxBins) ||
      (width == 0 && !counts.empty()) || first > (int64_t{1} << 42) || first < -(int64_t{1} << 42))
    h.fail("bins of a width above 0");
  t.histogram = Histogram(width, first, std::move(counts));
  if (const Json* channels = r.member("channels")) {
    Reader c(*channels, fmt::format("channels of '{}'", name));
    c.read("count", t.channel_count);
    c.read("sum", t.channel_sum);
    c.read("max_abs", t.channel_max_abs);
    if (t.channel_sum.size() != t.channel_max_abs.size()) c.fail("lists of one length");
    TRY(c.status());
  }
  if (t.min > t.max || t.count < 0) r.fail("min below max");
  TRY(r.status());
  TRY(h.status());
  return t;
}

}  // namespace

// A line per tensor.
std::string to_json(const Statistics& statistics) {
  const auto text_of = [](const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
  };
  std::string text = fmt::format("{{\"format\": {},\n \"functions\": {{", text_of(kFormat));
  std::string_view comma;
  for (const auto& [key, f] : statistics) {
    text += fmt::format(
        "{}\n  {}: {{\"graph\": {}, \"data\": {}, \"samples\": {}, \"complete\": {},\n"
        "   \"tensors\": {{",
        comma, text_of(key), text_of(f.graph), text_of(f.data), f.samples, f.complete);
    comma = "";
    for (const auto& [name, t] : f.tensors) {
      text += fmt::format("{}\n    {}: {}", comma, text_of(name), text_of(to_object(t)));
      comma = ",";
    }
    text += "}}";
    comma = ",";
  }
  return text + "}}\n";
}

Result<Statistics> parse_statistics(std::string_view text) {
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return invalid_argument("statistics: this is no JSON");
  Reader r(json, "");
  std::string format;
  r.read("format", format);
  if (r.status().ok() && format != kFormat)
    return invalid_argument(
        fmt::format("statistics: the format is '{}', expected '{}'", format, kFormat));
  TRY(r.status());
  const Json* functions = r.member("functions");
  if (functions == nullptr || !functions->is_object())
    return invalid_argument("statistics: expected an object 'functions'");
  Statistics statistics;
  for (const auto& [key, value] : functions->items()) {
    FunctionStatistics& f = statistics[key];
    Reader function(value, fmt::format("function '{}'", key));
    function.read("graph", f.graph);
    function.read("data", f.data);
    function.read("samples", f.samples);
    function.read("complete", f.complete);
    TRY(function.status());
    const Json* tensors = function.member("tensors");
    if (tensors == nullptr || !tensors->is_object())
      return invalid_argument("statistics: expected an object 'tensors'");
    for (const auto& [name, tensor] : tensors->items())
      f.tensors[name] = TRY(tensor_from(tensor, name));
  }
  return statistics;
}

Result<Statistics> read_statistics(const std::string& path) {
  auto text = read_text_file(path);
  if (!text.ok() && text.error().code == Code::not_found) return Statistics{};
  if (!text.ok()) return std::move(text).error();
  auto statistics = parse_statistics(*text);
  if (!statistics.ok()) return std::move(statistics).error().at(path);
  return statistics;
}

Status write_statistics(const std::string& path, const Statistics& statistics) {
  const std::string text = to_json(statistics);
  return write_file_atomically(path, as_bytes(text));
}

}  // namespace tenon::quant
