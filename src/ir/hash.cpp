#include "ir/hash.h"

#include <unordered_map>

#include "base/hash.h"

namespace tenon {
namespace {

class Hasher {
 public:
  explicit Hasher(ConstantHash constants) : constants_(constants) {}

  void graph(const Graph& g) {
    std::unordered_map<const Value*, int64_t> number;
    const auto define = [&](const Value* v) {
      number.emplace(v, static_cast<int64_t>(number.size()));
      add(v->type());
    };
    text(g.stage);
    for (const auto& input : g.inputs()) define(input.get());
    for (const auto& n : g.nodes()) {
      text(n->def().name);
      for (const Value* v : n->inputs()) integer(v == nullptr ? -1 : number[v]);
      for (size_t i = 0; i < n->def().fields.size(); ++i) {
        if (n->op().is_default(i)) continue;
        integer(n->def().fields[i].id);
        std::visit([&](const auto& value) { add(value); }, n->op().get(i));
      }
      integer(static_cast<int64_t>(n->regions().size()));
      for (const auto& region : n->regions()) graph(*region);
      for (int i = 0; i < n->output_count(); ++i) define(n->output(i));
    }
    for (const Value* v : g.outputs()) integer(number[v]);
  }

  uint64_t digest() const { return stream_.digest(); }

 private:
  void integer(int64_t v) { stream_.add(std::as_bytes(std::span(&v, 1))); }
  void text(std::string_view s) {
    integer(static_cast<int64_t>(s.size()));
    stream_.add(as_bytes(s));
  }
  void add(int64_t v) { integer(v); }
  void add(bool v) { integer(v ? 1 : 0); }
  void add(double v) { stream_.add(std::as_bytes(std::span(&v, 1))); }
  void add(DType v) { integer(static_cast<int64_t>(v)); }
  void add(const std::string& v) { text(v); }
  void add(const TensorType& v) { text(v.to_string()); }
  void add(const Tensor& v) {
    if (constants_ == ConstantHash::kContent || v.is_list() || !v.defined()) {
      integer(static_cast<int64_t>(tensor_hash(v)));
      return;
    }
    add(v.type());
    integer(static_cast<int64_t>(reinterpret_cast<intptr_t>(v.raw())));
  }
  template <typename T>
  void add(const std::vector<T>& list) {
    integer(static_cast<int64_t>(list.size()));
    for (const T& v : list) add(v);
  }

  ConstantHash constants_;
  StreamHash64 stream_;
};

}  // namespace

uint64_t graph_hash(const Graph& graph, ConstantHash constants) {
  Hasher hasher(constants);
  hasher.graph(graph);
  return hasher.digest();
}

}  // namespace tenon
