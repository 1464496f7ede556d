// SPDX-License-Identifier: Apache-2.0
//
// WorkspaceCheck: how what looks wrong becomes certain, alone with the store or beside other
// gateways, and the transactions that repairs are made in.
#include <algorithm>
#include <iterator>
#include <thread>
#include <utility>

#include "broker/log_event.h"
#include "tools/gateway/check/workspace_check.h"

namespace airstore::gateway {
namespace {

constexpr size_t kAtOnce = 256;   // suspects
constexpr int kMostLooks = 1000;  // at one that is changed all the time: some ten seconds
constexpr auto kPause = std::chrono::milliseconds(50);

}  // namespace

void WorkspaceCheck::SortSuspects() {
  std::stable_sort(suspects_.begin(), suspects_.end(),
                   [](const Suspect& one, const Suspect& other) { return one.what < other.what; });
}

Result<void> WorkspaceCheck::Verify() {
  const auto pause = parts_.collector.Pause();
  const auto judged = UntilNoConflict([&]() -> Result<void> {
    // A writer, to be alone; it commits nothing.
    auto writer = parts_.store.Write();
    if (!writer) return writer.error();
    AIRSTORE_TRY(JudgeAll(**writer, nullptr, suspects_));
    return (*writer)->status();
  });
  if (!judged) return judged;
  damages_ = std::move(found_);
  return {};
}

Result<void> WorkspaceCheck::Confirm() {
  const auto pause = parts_.collector.Pause();
  std::vector<Suspect> left = std::exchange(suspects_, {});
  for (int look = 1; !left.empty(); ++look) {
    if (look > kMostLooks) return Error{kStoreConflict, "what looks wrong"};
    if (look > 1) (void)PauseAfterConflict(std::min(look, 20));
    std::vector<Suspect> undecided;
    for (size_t at = 0; at < left.size(); at += kAtOnce) {
      if (!Continue("looking once more", at, left.size())) return Error{ECANCELED, "given up"};
      AIRSTORE_TRY(
          ConfirmSome(Suspects(left).subspan(at, std::min(kAtOnce, left.size() - at)), &undecided));
    }
    left = std::move(undecided);
  }
  SortSuspects();
  return {};
}

Result<void> WorkspaceCheck::ConfirmSome(Suspects some, std::vector<Suspect>* undecided) {
  const auto before = StampsOf(some);
  if (!before) return before.error();
  AIRSTORE_TRY(NoteChanges());
  std::vector<BlockId> blocks;
  for (const Suspect& suspect : some) {
    if (suspect.ino != 0) unread_.insert(suspect.ino);
    if (suspect.what == Suspect::What::kBlock) blocks.push_back(suspect.block);
  }
  AIRSTORE_TRY(ReadChanged());
  AIRSTORE_TRY(ReadRows(blocks));
  std::vector<std::vector<Damage>> found(some.size());
  for (size_t i = 0; i < some.size(); ++i) {
    auto reader = parts_.store.Read();
    if (!reader) return reader.error();
    found_.clear();
    AIRSTORE_TRY(Judge(**reader, nullptr, some[i]));
    // What is read here is of one moment, or need not be.
    if (auto read = (*reader)->status(); !read && read.error().code != kStoreConflict) return read;
    found[i] = std::move(found_);
  }
  const auto after = StampsOf(some);
  if (!after) return after.error();
  for (size_t i = 0; i < some.size(); ++i) {
    if ((*before)[i] != (*after)[i]) {
      undecided->push_back(some[i]);
    } else if (!found[i].empty()) {
      suspects_.push_back(some[i]);
      std::move(found[i].begin(), found[i].end(), std::back_inserter(damages_));
    }
  }
  return {};
}

Result<std::vector<std::string>> WorkspaceCheck::StampsOf(Suspects some) {
  const auto is_inode = [](const Suspect& suspect) {
    return suspect.what == Suspect::What::kInode || suspect.what == Suspect::What::kNameless;
  };
  std::vector<InodeNo> inodes;
  std::vector<BlockId> blocks;
  for (const Suspect& suspect : some) {
    if (is_inode(suspect)) inodes.push_back(suspect.ino);
    if (suspect.what == Suspect::What::kBlock) blocks.push_back(suspect.block);
  }
  auto reader = parts_.store.Read();
  if (!reader) return reader.error();
  const auto stamps = (*reader)->Stamps(workspace_.key, inodes, blocks);
  AIRSTORE_TRY((*reader)->status());
  std::vector<std::string> each;
  size_t inode = 0, block = inodes.size();
  for (const Suspect& suspect : some) {
    // The others need none.
    each.push_back(is_inode(suspect)                       ? stamps[inode++]
                   : suspect.what == Suspect::What::kBlock ? stamps[block++]
                                                           : std::string());
  }
  return each;
}

Result<void> WorkspaceCheck::Repair() {
  damages_.clear();  // it tells what it finds
  SessionRecord presence;
  presence.id = SessionId::From(RandomBlockId().view());
  presence.workspace = workspace_.key;
  presence.client = "fsck";
  auto spare = parts_.grant(workspace_.key);
  if (!spare) return spare.error();
  spare_inode_ = *spare;
  AIRSTORE_TRY(parts_.sessions.Remember(presence));
  const auto done = is_shared() ? MendInPieces(presence, suspects_) : Mend(presence, suspects_);
  if (auto gone = parts_.sessions.Forget(presence); !gone) {
    broker::LogEvent(spdlog::level::warn,
                     {{"workspace", workspace_.name}, {"error", gone.error().ToString()}},
                     "the check's session stays for a while: {}", gone.error().ToString());
  }
  return done;
}

Result<void> WorkspaceCheck::MendInPieces(const SessionRecord& presence, Suspects some) {
  const auto done = Mend(presence, some);
  if (done || done.error().code != kStoreConflict || some.size() == 1) return done;
  AIRSTORE_TRY(MendInPieces(presence, some.first(some.size() / 2)));
  return MendInPieces(presence, some.subspan(some.size() / 2));
}

Result<void> WorkspaceCheck::Mend(const SessionRecord& presence, Suspects some) {
  const SteadyTime deadline = SteadyNow() + parts_.sessions.lifetime() + std::chrono::seconds(5);
  Result<uint64_t> done = Error{EBUSY, {}};
  while (true) {
    const auto recalled = parts_.sessions.RecallOthers(presence);
    if (!recalled) {
      done = recalled.error();
    } else if (!*recalled) {
      const auto pause = parts_.collector.Pause();
      done = parts_.batches.Change(
          workspace_.key, presence.id, {}, [&](Changer& changer, WriteOp&) -> int {
            if (!Continue("mending", 0, 0)) return ECANCELED;
            const auto judged = JudgeAll(changer.tree().store(), &changer, some);
            return judged ? 0 : judged.error().code;
          });
    }
    if (done || done.error().code != EBUSY || SteadyNow() >= deadline) break;
    parts_.sessions.Touch(presence.id, SteadyNow());
    if (!Continue("waiting for a host to give back its lease", 0, 0)) break;
    std::this_thread::sleep_for(kPause);
  }
  if (!done) {
    if (done.error().code != EBUSY) return done.error();
    return Error{EBUSY, "a host does not give back its lease of workspace " + workspace_.name};
  }
  for (Damage& damage : found_) {
    damage.repaired = !damage.remedy.empty();
    damages_.push_back(std::move(damage));
  }
  return {};
}

}  // namespace airstore::gateway
