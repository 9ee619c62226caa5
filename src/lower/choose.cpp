#include "lower/choose.h"

#include <fmt/format.h>

#include <optional>

#include "lower/l2_pages.h"
#include "simulate/timing.h"

namespace tenon::lower {

double host_seconds(const Machine& machine, int64_t bytes) {
  constexpr double kBytes = 5e9;
  const double bandwidth =
      std::visit([](const auto& chip) -> double { return chip.host_bandwidth; }, machine.chip);
  const auto crossing = static_cast<double>(bytes);
  return kHostStart + crossing / bandwidth + crossing / kBytes;
}

// Over tensors that nothing has read before.
Result<double> seconds_of(const Lowering& lowering, const Lowering::Draft& draft) {
  constexpr int64_t kAlign = 512;
  // As the whole program will be timed.
  const isa::Architecture used = architecture_for(lowering.machine(), lowering.options().batch);
  simulate::TimingModel timing(lowering.machine(), used);
  const double launch =
      std::visit([](const auto& chip) { return chip.launch; }, lowering.machine().chip);
  const auto tensor = [&](int operand) -> const DeviceTensor& {
    const auto at = static_cast<size_t>(operand);
    return at < draft.first_tensor ? lowering.tensor(operand)
                                   : draft.tensors[at - draft.first_tensor];
  };
  const auto in_l2 = operands_in_l2(lowering.machine(), draft.steps, tensor);
  std::unordered_map<int, int64_t> places;
  int64_t next = 0;
  double seconds = 0;
  for (size_t s = 0; s < draft.steps.size(); ++s) {
    const DeviceStep& step = draft.steps[s];
    std::vector<int64_t> addresses;
    for (const int operand : step.operands) {
      const auto [place, fresh] = places.try_emplace(operand, next);
      if (fresh) next += (tensor(operand).bytes() + kAlign - 1) / kAlign * kAlign;
      addresses.push_back(place->second);
    }
    const auto time =
        TRY(timing.run(*step.program, addresses, in_l2.empty() ? std::vector<bool>{} : in_l2[s]));
    seconds += time.seconds + launch;
  }
  return seconds;
}

namespace {

// The number of the fastest candidate, its kernels in `draft`, and the others. Times are only taken
// where they matter.
Result<Choice> choose(Lowering& lowering, std::span<const Candidate> candidates,
                      Lowering::Draft& draft) {
  const std::string& wanted = lowering.options().algorithm;
  std::vector<Alternative> seen;
  std::vector<std::optional<Lowering::Draft>> drafts;
  std::optional<size_t> best;
  size_t possible = 0;
  for (const Candidate& candidate : candidates) {
    seen.push_back({candidate.algorithm, "", "", 0});
    auto made = lowering.draft(candidate.lower);
    if (!made.ok()) {
      if (made.error().code == Code::internal) return std::move(made).error();
      seen.back().reason = made.error().message;
      drafts.emplace_back();
      continue;
    }
    ++possible;
    if (candidate.algorithm == wanted) best = drafts.size();
    if (!made->steps.empty()) seen.back().tiling = made->steps[0].tiling;
    drafts.emplace_back(std::move(*made));
  }
  if (possible == 0) return unsupported(seen[0].reason);
  const bool is_asked = best.has_value();
  const bool is_timed = possible > 1 || lowering.options().advise;
  for (size_t i = 0; i < drafts.size(); ++i) {
    if (!drafts[i]) continue;
    if (is_timed) seen[i].seconds = TRY(seconds_of(lowering, *drafts[i]));
    if (!best || (!is_asked && seen[i].seconds < seen[*best].seconds)) best = i;
  }
  draft = std::move(*drafts[*best]);
  Choice choice;
  choice.candidate = *best;
  choice.seconds = seen[*best].seconds;
  for (size_t i = 0; i < seen.size(); ++i)
    if (i != *best) choice.rejected.push_back(std::move(seen[i]));
  return choice;
}

// Which variants would take less time than what was chosen.
Result<std::vector<std::string>> advise(Lowering& lowering, const Choice& choice,
                                        std::span<const Variant> variants) {
  std::vector<std::string> advice;
  for (const Variant& v : variants) {
    const auto made = lowering.draft(v.candidate.lower);
    if (!made.ok()) {
      if (made.error().code == Code::internal) return made.error();
      continue;
    }
    const double seconds = TRY(seconds_of(lowering, *made));
    if (seconds < choice.seconds)
      advice.push_back(fmt::format("{} could be {}: {:.4f} ms, a gain of {:.0f} %", v.sizes,
                                   v.candidate.algorithm, seconds * 1e3,
                                   100 * (choice.seconds / seconds - 1)));
    else
      advice.push_back(fmt::format("{} would not pay: {} takes {:.4f} ms", v.sizes,
                                   v.candidate.algorithm, seconds * 1e3));
  }
  return advice;
}

}  // namespace

Status lower_fastest(Lowering& lowering, const std::string& problem,
                     std::span<const Candidate> candidates, std::span<const Variant> variants) {
  if (candidates.size() == 1) return candidates[0].lower();
  const size_t first = lowering.steps();
  Choice* choice = lowering.choice(problem);
  if (choice != nullptr) {
    TRY(candidates[choice->candidate].lower());
  } else {
    Lowering::Draft draft;
    Choice made = TRY(choose(lowering, candidates, draft));
    if (lowering.options().advise) made.advice = TRY(advise(lowering, made, variants));
    choice = lowering.remember(problem, std::move(made));
    lowering.accept(std::move(draft));
  }
  if (lowering.steps() == first) return {};
  DeviceStep& step = lowering.step(first);
  step.rejected = choice->rejected;
  step.seconds = choice->seconds;
  step.advice = choice->advice;
  return {};
}

}  // namespace tenon::lower
