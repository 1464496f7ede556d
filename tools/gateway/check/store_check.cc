// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/check/store_check.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

#include "broker/log_event.h"
#include "tools/gateway/blocks/block_name.h"
#include "tools/gateway/clock.h"
#include "tools/gateway/validate.h"

namespace airstore::gateway {
namespace {

constexpr auto kPatience = std::chrono::seconds(15);
constexpr int kNice = 10;
constexpr size_t kDamagesAtOnce = 1000;  // one message holds them

}  // namespace

StoreCheck::~StoreCheck() {
  std::thread thread;
  {
    const std::lock_guard lock(mu_);
    cancelled_ = true;
    thread = std::move(thread_);
  }
  if (thread.joinable()) thread.join();
}

Result<uint64_t> StoreCheck::Start(Kind kind, CheckOptions options) {
  if (!options.workspace.empty()) {
    bool found = false;
    AIRSTORE_TRY(UntilNoConflict([&]() -> Result<void> {
      auto reader = parts_.store.Read();
      if (!reader) return reader.error();
      found = (*reader)->FindWorkspace(options.workspace).has_value();
      return (*reader)->status();
    }));
    if (!found) return Error{ENOENT, NoWorkspace(options.workspace)};
  }
  const std::lock_guard lock(mu_);
  if (thread_.joinable()) {
    if (!state_.finished) return Error{EBUSY, "another check or collection is running"};
    thread_.join();
  }
  state_ = {};
  damages_.clear();
  cancelled_ = false;
  asked_ = SteadyNow();
  thread_ = std::thread([this, kind, options = std::move(options)] { Run(kind, options); });
  return ++id_;
}

Result<StoreCheck::Answer> StoreCheck::Ask(uint64_t id, size_t first_damage) {
  const std::lock_guard lock(mu_);
  if (id != id_ || id == 0) return Error{ESTALE, "this check is over"};
  asked_ = SteadyNow();
  Answer answer{state_, {}};
  for (size_t i = first_damage; i < damages_.size(); ++i) {
    if (answer.damages.size() == kDamagesAtOnce) {
      answer.state.finished = false;  // ask for the rest
      break;
    }
    answer.damages.push_back(damages_[i]);
  }
  return answer;
}

void StoreCheck::Cancel(uint64_t id) {
  const std::lock_guard lock(mu_);
  if (id == id_) cancelled_ = true;
}

bool StoreCheck::Going(const std::string& phase, uint64_t done, uint64_t total) {
  const std::lock_guard lock(mu_);
  state_.phase = phase;
  state_.done = done;
  state_.total = total;
  return !cancelled_ && SteadyNow() < asked_ + kPatience;
}

void StoreCheck::Report(std::vector<Damage> damages) {
  const std::lock_guard lock(mu_);
  for (Damage& damage : damages) {
    broker::LogEvent(spdlog::level::warn,
                     {{"workspace", damage.workspace},
                      {"damage", damage.kind},
                      {"path", damage.path},
                      {"block", damage.block}},
                     "check: workspace {}: {}{}{}{}{}", damage.workspace, damage.kind,
                     damage.path.empty() ? "" : " of ", damage.path,
                     damage.block.empty() ? "" : ", block " + damage.block,
                     damage.repaired ? ": " + damage.remedy : "");
    ++state_.totals.damages;
    state_.totals.repaired += damage.repaired ? 1 : 0;
    state_.totals.lost_bytes += damage.lost_bytes;
    if (damages_.size() < kMostDamages) damages_.push_back(std::move(damage));
  }
}

void StoreCheck::Run(Kind kind, const CheckOptions& options) {
  // Of this thread alone: who works with the store goes first.
  (void)setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice);
  const Result<void> done = kind == Kind::kCollect ? Collect() : CheckAll(options);
  const std::lock_guard lock(mu_);
  if (!done) {
    state_.error = done.error().code == ECANCELED ? "given up: nobody asked for it any more"
                                                  : done.error().ToString();
    broker::LogEvent(spdlog::level::err,
                     {{"workspace", options.workspace}, {"error", state_.error}}, "check: {}",
                     state_.error);
  }
  state_.finished = true;
}

Result<void> StoreCheck::Collect() {
  if (!Going("what nothing refers to", 0, 0)) return Error{ECANCELED, {}};
  uint64_t bytes = 0;
  const auto collected = parts_.collector.Collect(WallClockNs(), &bytes);
  if (!collected) return collected.error();
  if (!Going("what has no record", 0, 0)) return Error{ECANCELED, {}};
  const auto scrubbed = parts_.collector.Scrub(WallClockNs(), grace_ns_);
  if (!scrubbed) return scrubbed.error();
  const std::lock_guard lock(mu_);
  state_.totals.removed_blocks = *collected + *scrubbed;
  state_.totals.removed_bytes = bytes;
  return {};
}

Result<void> StoreCheck::CheckAll(const CheckOptions& options) {
  needed_.clear();
  std::vector<Workspace> workspaces;
  AIRSTORE_TRY(UntilNoConflict([&]() -> Result<void> {
    auto reader = parts_.store.Read();
    if (!reader) return reader.error();
    workspaces = (*reader)->ListWorkspaces();
    return (*reader)->status();
  }));
  std::unordered_map<WorkspaceKey, std::string> names;
  for (const Workspace& workspace : workspaces) names[workspace.key] = workspace.name;
  std::unordered_map<WorkspaceKey, WorkspaceCheck::Stored> stored;
  if (!Going("what is stored", 0, 0)) return Error{ECANCELED, {}};
  AIRSTORE_TRY(parts_.blocks.store().List(
      INT64_MAX, [&](const BlockKey& key) { stored[key.workspace].insert(key.id); }));
  // A directory that is not mounted, or another place than it was, looks like this.
  if (options.repair && stored.empty() &&
      std::any_of(workspaces.begin(), workspaces.end(),
                  [](const Workspace& one) { return one.used_bytes != 0; })) {
    return Error{
        EIO,
        "nothing at all is stored, and files have content: look whether the block store is "
        "mounted, and the one that it was; nothing was changed"};
  }
  for (const Workspace& workspace : workspaces) {
    if (!options.workspace.empty() && options.workspace != workspace.name &&
        options.workspace != workspace.id) {
      continue;
    }
    const WorkspaceCheck::Stored& own = stored[workspace.key];
    WorkspaceCheck check(parts_, workspace, options, own,
                         [this](const std::string& phase, uint64_t done, uint64_t total) {
                           return Going(phase, done, total);
                         });
    const auto done = check.Run();
    Report(std::move(check.damages()));
    AIRSTORE_TRY(done);
    for (const BlockId& id : own) {
      if (check.Needs(id)) needed_.push_back({workspace.key, id});
    }
    const std::lock_guard lock(mu_);
    ++state_.totals.workspaces;
    state_.totals.inodes += check.inodes();
    state_.totals.blocks += check.blocks();
    state_.totals.content_bytes += check.content_bytes();
  }
  return options.workspace.empty() ? LookForOrphans(names, options.repair) : Result<void>();
}

Result<void> StoreCheck::LookForOrphans(const std::unordered_map<WorkspaceKey, std::string>& names,
                                        bool repair) {
  std::vector<BlockKey> old;
  AIRSTORE_TRY(parts_.blocks.store().List(WallClockNs() - grace_ns_,
                                          [&](const BlockKey& key) { old.push_back(key); }));
  std::unordered_set<BlockKey, BlockKeyHash> needed(needed_.begin(), needed_.end());
  std::vector<Damage> orphans;
  for (size_t i = 0; i < old.size(); ++i) {
    if (i % 1000 == 0 && !Going("blocks that are nobody's", i, old.size())) {
      return Error{ECANCELED, {}};
    }
    const BlockKey& key = old[i];
    const auto has_row = UntilNoConflict([&]() -> Result<bool> {
      auto reader = parts_.store.Read();
      if (!reader) return reader.error();
      const bool found = (*reader)->GetBlock(key.workspace, key.id).has_value();
      AIRSTORE_TRY((*reader)->status());
      return found;
    });
    if (!has_row) return has_row.error();
    if (*has_row || needed.contains(key)) continue;
    Damage orphan;
    orphan.kind = "orphan-block";
    const auto name = names.find(key.workspace);
    orphan.workspace = name == names.end() ? "" : name->second;
    orphan.block = ToHex(key.id.view());
    orphan.what = "a block is stored that nothing knows of, as a crash may leave one";
    orphan.remedy = "it is deleted; nothing is lost";
    orphans.push_back(std::move(orphan));
  }
  if (repair && !orphans.empty()) {
    const auto scrubbed = parts_.collector.Scrub(WallClockNs(), grace_ns_);
    if (!scrubbed) return scrubbed.error();
    for (Damage& orphan : orphans) orphan.repaired = true;
    const std::lock_guard lock(mu_);
    state_.totals.removed_blocks = *scrubbed;
  }
  Report(std::move(orphans));
  return {};
}

}  // namespace airstore::gateway
