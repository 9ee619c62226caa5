#include "lower/program_builder.h"

#include <fmt/format.h>

#include <algorithm>

namespace tenon::lower {

void Ring::flag(Opcode op, size_t from, const Expr& id) const {
  const size_t to = (from + 1) % queues_.size();
  if (queues_[from] == queues_[to]) return;
  const int queue = op == Opcode::set_flag ? queues_[from] : queues_[to];
  isa::Instruction i{op, queue, {}, {queues_[from], queues_[to], Expr(ids_[from]) + id}, 0};
  builder_->open_.back()->emplace_back(std::move(i));
}

void Ring::enter(size_t stage, const Expr& turn) const {
  flag(Opcode::wait_flag, (stage + queues_.size() - 1) % queues_.size(), turn % depth_);
}

void Ring::leave(size_t stage, const Expr& turn) const {
  flag(Opcode::set_flag, stage, turn % depth_);
}

Expr Ring::place(const Expr& turn) const {
  return turn % depth_ * bytes_ + base_;
}

void Ring::prepare() const {
  for (int64_t i = 0; i < depth_; ++i) flag(Opcode::set_flag, queues_.size() - 1, i);
}

void Ring::finish() const {
  for (int64_t i = 0; i < depth_; ++i) flag(Opcode::wait_flag, queues_.size() - 1, i);
}

ProgramBuilder::ProgramBuilder(const isa::Architecture& architecture, std::string name,
                               std::string algorithm)
    : architecture_(architecture), used_(architecture.memories.size(), 0) {
  program_.name = std::move(name);
  program_.algorithm = std::move(algorithm);
  open_.push_back(&program_.body);
}

void ProgramBuilder::fail(std::string message) {
  if (error_.empty()) error_ = std::move(message);
}

int64_t ProgramBuilder::free_bytes(int memory) const {
  const auto m = static_cast<size_t>(memory);
  return architecture_.memories[m].bytes - used_[m];
}

int ProgramBuilder::buffer(std::string name, isa::Buffer::Role role, DType dtype,
                           int64_t elements) {
  const auto taken = [&](const std::string& n) {
    return std::ranges::find(program_.buffers, n, &isa::Buffer::name) != program_.buffers.end();
  };
  const std::string first = name;
  for (int i = 2; taken(name); ++i) name = fmt::format("{}.{}", first, i);
  program_.buffers.push_back({std::move(name), role, dtype, elements});
  return static_cast<int>(program_.buffers.size()) - 1;
}

int64_t ProgramBuilder::reserve(int memory, int64_t bytes) {
  const auto m = static_cast<size_t>(memory);
  const auto& info = architecture_.memories[m];
  const int64_t place = used_[m];
  used_[m] += (bytes + info.align - 1) / info.align * info.align;
  if (used_[m] > info.bytes)
    fail(fmt::format("{} bytes of {} are needed, {} are there", used_[m], info.name, info.bytes));
  return place;
}

int64_t ProgramBuilder::allocate(int memory, int64_t bytes) {
  const int64_t begin = reserve(memory, bytes);
  places_.push_back({memory, begin, begin + bytes});
  return begin;
}

Ring ProgramBuilder::ring(int memory, int64_t bytes, int64_t depth, std::vector<int> queues) {
  const int64_t align = architecture_.memories[static_cast<size_t>(memory)].align;
  Ring ring;
  ring.builder_ = this;
  ring.memory_ = memory;
  ring.bytes_ = (bytes + align - 1) / align * align;
  ring.depth_ = depth;
  ring.base_ = reserve(memory, ring.bytes_ * depth);
  for (int64_t i = 0; i < depth; ++i) {
    const int64_t begin = ring.base_ + i * ring.bytes_;
    places_.push_back({memory, begin, begin + bytes});
  }
  ring.queues_ = std::move(queues);
  for (size_t k = 0; k < ring.queues_.size(); ++k) {
    const int from = ring.queues_[k], to = ring.queues_[(k + 1) % ring.queues_.size()];
    int64_t& used = flags_[{from, to}];
    ring.ids_.push_back(used);
    if (from != to) used += depth;
    if (used > architecture_.flag_ids)
      fail(fmt::format("more than {} flags from {} to {}", architecture_.flag_ids,
                       architecture_.queues[static_cast<size_t>(from)],
                       architecture_.queues[static_cast<size_t>(to)]));
  }
  ring.prepare();
  rings_.push_back(ring);
  return ring;
}

void ProgramBuilder::loop(const Expr& count, const std::function<void(const Expr&)>& body) {
  isa::Loop loop{program_.variables++, count, {}};
  const Expr i = Expr::variable(loop.variable);
  open_.push_back(&loop.body);
  body(i);
  open_.pop_back();
  open_.back()->emplace_back(std::move(loop));
}

void ProgramBuilder::emit(Opcode op, std::vector<View> views, std::vector<Expr> numbers,
                          double scalar) {
  const isa::Route* route = architecture_.route(op, views);
  if (route == nullptr) {
    std::string memories;
    for (const View& v : views)
      memories += " " + architecture_.memories[static_cast<size_t>(v.memory)].name;
    return fail(fmt::format("the chip has no {} over{}", isa::info(op).name, memories));
  }
  open_.back()->emplace_back(
      isa::Instruction{op, route->queue, std::move(views), std::move(numbers), scalar});
}

void ProgramBuilder::barrier() {
  open_.back()->emplace_back(isa::Instruction{Opcode::barrier, 0, {}, {}, 0});
}

void ProgramBuilder::sync(int queue) {
  open_.back()->emplace_back(isa::Instruction{Opcode::sync, 0, {}, {queue}, 0});
}

bool ProgramBuilder::retarget_last(const View& from, const View& to) {
  if (open_.back()->empty()) return false;
  auto* last = std::get_if<isa::Instruction>(&open_.back()->back());
  if (last == nullptr || last->views.empty() || last->views[0] != from) return false;
  last->views[0] = to;
  return true;
}

View ProgramBuilder::global(int buffer, const Expr& offset, std::vector<Axis> axes) const {
  const DType dtype = program_.buffers[static_cast<size_t>(buffer)].dtype;
  return {0, buffer, dtype, offset * static_cast<int64_t>(dtype_size(dtype)), std::move(axes)};
}

View ProgramBuilder::local(int memory, const Expr& offset, DType dtype,
                           std::vector<Axis> axes) const {
  return {memory, -1, dtype, offset, std::move(axes)};
}

Result<isa::Program> ProgramBuilder::take() {
  for (const Ring& ring : rings_) ring.finish();
  if (!error_.empty()) return internal_error(fmt::format("kernel '{}': {}", program_.name, error_));
  return std::move(program_);
}

}  // namespace tenon::lower
