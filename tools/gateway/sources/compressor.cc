// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/sources/compressor.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "shm/base/fd.h"
#include "tools/gateway/sources/strip.h"
#include "tools/gateway/tools/process.h"

namespace airstore::gateway {
namespace {

constexpr std::chrono::minutes kKept{5};
constexpr size_t kMostBytes = 10u << 20;
constexpr size_t kMostAnswer = 15u << 20;
constexpr int kTimedOut = 124;  // of timeout(1)

}  // namespace

int Compressor::Distill(const std::string& text, std::string* out) const {
  // From a file: a program that does not read holds up nobody.
  const UniqueFd file(memfd_create("distill", MFD_CLOEXEC));
  if (!file || write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return EIO;
  }
  ProcessSpec spec;
  spec.command = {"/bin/sh",
                  "-c",
                  "exec <\"$1\"; shift; exec timeout -k 1 \"$@\"",
                  "sh",
                  "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(file.get()),
                  std::to_string(seconds_)};
  spec.command.insert(spec.command.end(), distill_.begin(), distill_.end());
  const Cancel never;
  const auto ended = RunProcess(
      spec,
      [out](Stream stream, std::string_view data) {
        if (stream == Stream::kOut) out->append(data);
        return out->size() <= kMostAnswer;
      },
      never);
  if (!ended) return ended.error().code;
  return *ended == 0 ? 0 : *ended == kTimedOut ? ETIME : EIO;
}

Compressed Compressor::Make(const std::string& strategy, SourceContent content) {
  Compressed made;
  const SteadyTime begun = SteadyNow();
  made.content = std::move(content);
  const std::string& original = made.content.data;
  made.original_bytes = static_cast<int64_t>(original.size());
  made.outcome = "skipped";
  std::string shorter = original;
  if (strategy == "strip" || strategy == "chain") shorter = Strip(original);
  if ((strategy == "distill" || strategy == "chain") && !distill_.empty()) {
    std::string distilled;
    const int error = Distill(shorter, &distilled);
    if (error == 0) shorter = std::move(distilled);
    if (error != 0) made.outcome = error == ETIME ? "timeout" : "error";
  }
  if (shorter.size() < original.size()) {
    if (made.outcome == "skipped") made.outcome = "compressed";
    made.content.data = std::move(shorter);
  }
  made.took_ms = std::chrono::duration_cast<std::chrono::milliseconds>(SteadyNow() - begun).count();
  return made;
}

std::shared_ptr<const Compressed> Compressor::Find(const std::string& strategy,
                                                   const std::string& key) {
  std::lock_guard lock(mu_);
  const auto found = kept_.find(strategy + '\0' + key);
  return found == kept_.end() ? nullptr : found->second;
}

void Compressor::Keep(const std::string& name, std::shared_ptr<const Compressed> made) {
  const SteadyTime now = SteadyNow();
  std::lock_guard lock(mu_);
  while (!order_.empty() &&
         (now - order_.front().first > kKept || bytes_ + made->content.data.size() > kMostBytes)) {
    const auto old = kept_.find(order_.front().second);
    bytes_ -= old->second->content.data.size();
    kept_.erase(old);
    order_.pop_front();
  }
  if (made->content.data.size() > kMostBytes || kept_.contains(name)) return;
  bytes_ += made->content.data.size();
  kept_[name] = std::move(made);
  order_.emplace_back(now, name);
}

std::shared_ptr<const Compressed> Compressor::Compress(const std::string& strategy,
                                                       const std::string& key,
                                                       SourceContent content) {
  auto made = std::make_shared<const Compressed>(Make(strategy, std::move(content)));
  Keep(strategy + '\0' + key, made);
  return made;
}

}  // namespace airstore::gateway
