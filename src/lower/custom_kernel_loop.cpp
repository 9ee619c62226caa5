// Loops of kernels: as one loop of the program where what changes in it does so evenly, else
// iteration by iteration.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "lower/custom_kernel.h"

namespace tenon::lower {

using bang::Op;
using bang::Statement;
using isa::Expr;

namespace {

constexpr int kFirstPlaceholder = 1'000'000;
constexpr int64_t kMostIterations = 2048;

// Variables that the statements assign, but those they declare.
void find_assigned(std::span<const Statement> body, std::set<size_t>& assigned,
                   std::set<size_t>& declared) {
  for (const Statement& s : body) {
    if (s.kind == Statement::Kind::assign && s.target->kind == bang::Expr::Kind::variable) {
      const auto i = static_cast<size_t>(s.target->index);
      (s.declares ? declared : assigned).insert(i);
    }
    find_assigned(s.body, assigned, declared);
    find_assigned(s.other, assigned, declared);
  }
}

bool contains(const Expr& e, int first_variable) {
  return e.last_variable() >= first_variable;
}

bool mentions(const Expr& e, int64_t variable) {
  if (e.is_number()) return false;
  if (e.kind() == Expr::Kind::variable) return e.value() == variable;
  return mentions(e.left(), variable) || mentions(e.right(), variable);
}

// c where e is p + c, and c does not change in the loop: has none of its placeholders, which are
// `first` and up.
std::optional<Expr> distance(const Expr& e, const Expr& p, int first) {
  if (e == p) return Expr(0);
  if (e.kind() == Expr::Kind::add) {
    if (!contains(e.right(), first))
      if (const auto c = distance(e.left(), p, first)) return *c + e.right();
    if (!contains(e.left(), first))
      if (const auto c = distance(e.right(), p, first)) return *c + e.left();
  }
  if (e.kind() == Expr::Kind::sub && !contains(e.right(), first))
    if (const auto c = distance(e.left(), p, first)) return *c - e.right();
  return std::nullopt;
}

}  // namespace

KernelCompiler::State KernelCompiler::state() const {
  return {frame_,     out_,           status_,       used_,
          mask_,      places_.size(), instructions_, program_.variables,
          conditions_};
}

void KernelCompiler::set_back(State s) {
  frame_ = std::move(s.frame);
  out_ = s.out;
  status_ = std::move(s.status);
  used_ = std::move(s.used);
  mask_ = std::move(s.mask);
  places_.resize(s.places);
  instructions_ = s.instructions;
  program_.variables = s.variables;
  conditions_ = s.conditions;
}

// What one iteration does to the variables, from running it on placeholders. None where it is
// nothing even.
std::optional<std::vector<KernelCompiler::Change>> KernelCompiler::changes_of(const Statement& s) {
  std::set<size_t> assigned, declared;
  find_assigned(s.body, assigned, declared);
  find_assigned(s.other, assigned, declared);
  std::vector<Change> changes;
  const int first_placeholder = kFirstPlaceholder + placeholders_;
  for (const size_t i : assigned) {
    // A place of a real stays where it is.
    if (declared.contains(i) || function_->variables[i].type.kind == bang::Type::Kind::real)
      continue;
    changes.push_back({i, Expr::variable(kFirstPlaceholder + placeholders_++), std::nullopt});
  }
  State before = state();
  Body trial;
  out_ = &trial;
  for (const Change& c : changes) frame_[c.variable].integer = c.placeholder;
  const Frame first = frame_;
  const Flow flow = run_iteration(s);
  const bool fine = flow == Flow::on;
  if (failed() && !refused_.has_value()) refused_ = status_.error();
  const Frame last = frame_;
  set_back(std::move(before));
  if (!fine) return std::nullopt;
  for (Change& c : changes) {
    const Value &now = last[c.variable], &was = first[c.variable];
    if (now.object != was.object) return std::nullopt;
    const Expr& e = now.integer;
    // What is not made of itself is made anew each time.
    if (now.lost || !mentions(e, c.placeholder.value())) continue;
    c.step = distance(e, c.placeholder, first_placeholder);
    // x = 1 - x; x = (x + 1) % k.
    if (e == Expr(1) - c.placeholder) c.period = 2;
    if (e.kind() == Expr::Kind::mod && e.left() == c.placeholder + 1 && e.right().is_number())
      c.period = e.right().value();
    const Expr& start = frame_[c.variable].integer;
    const bool comes_round =
        c.period > 0 && start.is_number() && start.value() >= 0 && start.value() < c.period;
    if (!c.step && !comes_round) return std::nullopt;
  }
  return changes;
}

// How often the loop runs, from a comparison of something that changes evenly with something that
// does not change.
std::optional<Expr> KernelCompiler::count_of(const Statement& s,
                                             const std::vector<Change>& changes) {
  if (!s.value || s.value->kind != bang::Expr::Kind::binary ||
      s.value->args[0].type.kind != bang::Type::Kind::integer)
    return std::nullopt;
  Op op = s.value->op;
  State before = state();
  Body trial;
  out_ = &trial;
  for (const Change& c : changes) frame_[c.variable].integer = c.placeholder;
  Expr a = integer(s.value->args[0]), b = integer(s.value->args[1]);
  const bool fine = !failed() && trial.empty();
  set_back(std::move(before));
  if (!fine || changes.empty()) return std::nullopt;
  const auto first = static_cast<int>(changes.front().placeholder.value());
  if (contains(b, first)) {
    std::swap(a, b);
    op = op == Op::less            ? Op::greater
         : op == Op::less_equal    ? Op::greater_equal
         : op == Op::greater       ? Op::less
         : op == Op::greater_equal ? Op::less_equal
                                   : op;
  }
  if (contains(b, first)) return std::nullopt;
  for (const Change& c : changes) {
    if (!c.step || !c.step->is_number()) continue;
    const auto offset = distance(a, c.placeholder, first);
    if (!offset) continue;
    const Expr start = frame_[c.variable].integer + *offset;
    const int64_t step = c.step->value();
    Expr way = b - start;
    if (op == Op::not_equal && (step == 1 || step == -1)) op = step > 0 ? Op::less : Op::greater;
    if (op == Op::less_equal) way = way + 1;
    if (op == Op::greater || op == Op::greater_equal)
      way = start - b + Expr(op == Op::greater_equal ? 1 : 0);
    const bool up = op == Op::less || op == Op::less_equal,
               down = op == Op::greater || op == Op::greater_equal;
    if (!(up && step > 0) && !(down && step < 0)) return std::nullopt;
    return (max(way, Expr(0)) + Expr((step > 0 ? step : -step) - 1)) /
           Expr(step > 0 ? step : -step);
  }
  return std::nullopt;
}

KernelCompiler::Value KernelCompiler::at_iteration(const Value& first, const Change& change,
                                                   const Expr& iteration) const {
  Value v = first;
  if (change.period > 0)
    v.integer = (first.integer + iteration) % Expr(change.period);
  else if (change.step)
    v.integer = first.integer + iteration * *change.step;
  else
    v.lost = true;
  return v;
}

KernelCompiler::Flow KernelCompiler::run_iteration(const Statement& s) {
  const int outer = std::exchange(loop_conditions_, conditions_);
  ++loops_;
  Flow flow = run(s.body);
  if (!failed() && (flow == Flow::next || flow == Flow::ended)) flow = Flow::on;
  if (flow == Flow::on) flow = run(s.other);
  --loops_;
  loop_conditions_ = outer;
  return failed() ? Flow::give_back : flow;
}

bool KernelCompiler::loop_as_one(const Statement& s) {
  const auto changes = changes_of(s);
  if (!changes) return false;
  const auto count = count_of(s, *changes);
  if (!count) return false;
  if (count->is_number() && count->value() == 0) return true;
  State before = state();
  isa::Loop loop{program_.variables++, *count, {}};
  out_ = &loop.body;
  const Expr iteration = Expr::variable(loop.variable);
  for (const Change& c : *changes)
    frame_[c.variable] = at_iteration(before.frame[c.variable], c, iteration);
  const bool conditional = mentions(*count, 0);
  conditions_ += conditional ? 1 : 0;
  if (run_iteration(s) != Flow::on) {
    if (failed() && !refused_.has_value()) refused_ = status_.error();
    set_back(std::move(before));
    return false;
  }
  conditions_ -= conditional ? 1 : 0;
  frame_ = before.frame;
  for (const Change& c : *changes)
    frame_[c.variable] = at_iteration(before.frame[c.variable], c, *count);
  out_ = before.out;
  if (!loop.body.empty()) out_->emplace_back(std::move(loop));
  return true;
}

KernelCompiler::Flow KernelCompiler::unroll(const Statement& s) {
  for (int64_t i = 0;; ++i) {
    const Expr condition = s.value ? integer(*s.value) : Expr(1);
    if (failed()) return Flow::give_back;
    if (!condition.is_number()) {
      fail(s.at,
           "a chip's program has no loop like this: it is to count evenly to an end that is known "
           "before it, such as for (int i = a; i < b; i += c); or all of it is to be known");
      return Flow::give_back;
    }
    if (condition.value() == 0) return Flow::on;
    if (i >= kMostIterations) {
      fail(s.at,
           fmt::format("this loop takes over {} iterations, each written out", kMostIterations));
      return Flow::give_back;
    }
    const Flow flow = run_iteration(s);
    if (flow == Flow::give_back) return flow;
    if (flow == Flow::leave) return Flow::on;
  }
}

KernelCompiler::Flow KernelCompiler::loop(const Statement& s) {
  // Ways out of the middle are followed one by one.
  refused_.reset();
  if (loop_as_one(s)) return failed() ? Flow::give_back : Flow::on;
  const std::optional<Error> why = std::exchange(refused_, std::nullopt);
  const Flow flow = unroll(s);
  // What was wrong with the loop as a whole tells more.
  if (failed() && why.has_value()) status_ = *why;
  return flow;
}

}  // namespace tenon::lower
