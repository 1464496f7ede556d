// SPDX-License-Identifier: Apache-2.0
//
// Resolving: names, inodes and listings that are not in the table yet. Concurrent misses for the
// same thing wait for one call.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "broker/backoff.h"
#include "broker/clock.h"
#include "broker/deadline.h"
#include "broker/tree.h"

namespace airstore::broker {
namespace {

constexpr uint64_t kInodeRange = 1u << 16;
constexpr uint64_t kInodesNoted = 1u << 10;  // numbers used between two records of them
constexpr uint64_t kListingInlineBudget = 2u << 20;
constexpr uint32_t kLargeDirectory = UINT32_MAX;  // more than one page of names: not worth listing
constexpr size_t kCountedDirectories = 1u << 16;

// GCC 12 destroys braced temporaries of co_await expressions twice, so requests are built outside.
constexpr size_t kNamesAtOnce = 256;

// Those that other hosts change while a directory's listing comes, page after page.
class ChangedNames {
 public:
  using Table = std::unordered_map<uint64_t, std::set<std::string>*>;
  ChangedNames(Table* table, uint64_t directory) : table_(table), directory_(directory) {
    (*table_)[directory_] = &names;
  }
  ~ChangedNames() { table_->erase(directory_); }
  ChangedNames(const ChangedNames&) = delete;
  ChangedNames& operator=(const ChangedNames&) = delete;

  std::set<std::string> names;

 private:
  Table* const table_;
  const uint64_t directory_;
};

std::vector<ResolveItem> OneLookup(uint64_t parent, const std::string& name) {
  return std::vector<ResolveItem>(1, LookupItem{parent, name, kSmallFile});
}
std::vector<ResolveItem> OneGetattr(uint64_t inode, uint64_t inline_bytes) {
  return std::vector<ResolveItem>(1, GetattrItem{inode, inline_bytes});
}
std::vector<ResolveItem> OneList(uint64_t directory, const std::string& after) {
  return std::vector<ResolveItem>(1, ListItem{directory, after, kSmallFile, kListingInlineBudget});
}

std::vector<ResolveItem> LookupAndList(uint64_t parent, const std::string& name) {
  std::vector<ResolveItem> items = OneLookup(parent, name);
  items.push_back(ListItem{parent, "", kSmallFile, kListingInlineBudget});
  return items;
}

// Nothing that the answer is about has changed since the question.
bool Holds(const Freshness::Question& question, const ResolveResult& result) {
  return (result.entry.attr.inode == 0 || question.Holds(result.entry.attr.inode)) &&
         std::all_of(result.entries.begin(), result.entries.end(),
                     [&](const DirEntry& entry) { return question.Holds(entry.attr.inode); });
}

// Registers a miss under way; whoever finds it registered waits instead.
class Once {
 public:
  Once(std::unordered_map<std::string, std::shared_ptr<Event>>* map, std::string key,
       const boost::asio::any_io_executor& executor)
      : map_(map), key_(std::move(key)) {
    map_->emplace(key_, std::make_shared<Event>(executor));
  }
  ~Once() {
    const auto event = map_->at(key_);
    map_->erase(key_);
    event->NotifyAll();
  }
  Once(const Once&) = delete;
  Once& operator=(const Once&) = delete;

 private:
  std::unordered_map<std::string, std::shared_ptr<Event>>* map_;
  std::string key_;
};

}  // namespace

Tree::Tree(boost::asio::any_io_executor executor, Tasks* tasks, InodeCache* inodes,
           Gateway* gateway, Contents* contents, MutationLog* log, MountSet* mounts,
           Evictor* evictor)
    : executor_(executor),
      tasks_(tasks),
      inodes_(inodes),
      gateway_(gateway),
      contents_(contents),
      log_(log),
      mounts_(mounts),
      evictor_(evictor),
      forgotten_(executor),
      inodes_granted_(executor),
      xattrs_([this](uint64_t inode) {
        const auto record = inodes_->Get(inode);
        return log_->PendingOf(inode) != 0 || (record && (record->flags & shm::kOrphan) != 0);
      }) {}

void Tree::GrantInodes(uint64_t first, uint64_t count) {
  next_inode_ = noted_inode_ = first;
  end_inode_ = first + count;
  NoteUnusedInodes();
}

void Tree::AddSpareInodes(uint64_t first, uint64_t count) {
  if (spare_first_ != spare_end_) return;
  spare_first_ = first;
  spare_end_ = first + count;
  NoteUnusedInodes();
  inodes_granted_.NotifyAll();
}

// A successor gives out numbers that nobody can have seen; so some are left over each time.
void Tree::NoteUnusedInodes() {
  if (spare_first_ != spare_end_) {
    log_->NoteInodes(spare_first_, spare_end_ - spare_first_);
    noted_inode_ = end_inode_;
    return;
  }
  noted_inode_ = std::min(end_inode_, std::max(noted_inode_, next_inode_) + kInodesNoted);
  log_->NoteInodes(noted_inode_, end_inode_ - noted_inode_);
}

Task<Result<uint64_t>> Tree::NextInode() {
  const int64_t deadline = MonotonicNs() + patience_ns_;
  if (admit_inode_) AIRSTORE_TRY_CO(co_await admit_inode_());
  for (;;) {
    if (next_inode_ == end_inode_ && spare_first_ != spare_end_) {
      next_inode_ = spare_first_;
      end_inode_ = spare_end_;
      spare_first_ = spare_end_ = 0;
      noted_inode_ = next_inode_;
    }
    if (spare_first_ == spare_end_ && !asking_inodes_ &&
        end_inode_ - next_inode_ < kInodeRange / 4) {
      asking_inodes_ = true;
      tasks_->Spawn(AskForInodes());
    }
    if (next_inode_ != end_inode_) {
      if (next_inode_ == noted_inode_) NoteUnusedInodes();
      co_return next_inode_++;
    }
    auto granted = [](Tree* self) -> Task<Result<void>> {
      co_await self->inodes_granted_.Wait();
      co_return Result<void>{};
    };
    AIRSTORE_TRY_CO(co_await Before(deadline, tasks_, executor_, granted(this)));
    if (stopping_) co_return Error{ESHUTDOWN, "the session ends"};
  }
}

Task<void> Tree::AskForInodes() {
  Backoff backoff;
  while (!stopping_) {
    auto range = co_await gateway_->AllocateInodes(kInodeRange);
    if (range) {
      spare_first_ = range->first;
      spare_end_ = range->first + range->second;
      NoteUnusedInodes();
      break;
    }
    if (!stopping_) co_await backoff.Wait(executor_);
  }
  asking_inodes_ = false;
  inodes_granted_.NotifyAll();
}

void Tree::Stop() {
  stopping_ = true;
  forgotten_.NotifyAll();
  inodes_granted_.NotifyAll();
}

Task<Result<std::vector<ResolveResult>>> Tree::ResolveBefore(int64_t deadline_ns,
                                                             std::vector<ResolveItem> items) {
  Backoff backoff;
  auto forgotten = [](Tree* self) -> Task<Result<void>> {
    while (self->forgetting_ && !self->stopping_) co_await self->forgotten_.Wait();
    co_return Result<void>{};
  };
  for (;;) {
    if (forgetting_) {
      AIRSTORE_TRY_CO(co_await Before(deadline_ns, tasks_, executor_, forgotten(this)));
    }
    auto results = co_await Before(deadline_ns, tasks_, executor_, gateway_->Resolve(items));
    if (results || results.error().code != EAGAIN) co_return results;
    if (MonotonicNs() > deadline_ns) co_return Error{ETIMEDOUT, "the gateway does not answer"};
    co_await backoff.Wait(executor_);
  }
}

Task<Result<void>> Tree::Ensure(uint64_t inode) {
  const std::string key = "#" + std::to_string(inode);
  bool flushed = false;
  for (;;) {
    const bool present = inodes_->IndexOf(inode) != shm::kNoIndex;
    if (present && !inodes_->IsStale(inode)) co_return Result<void>{};
    // It was removed here: what has changes on their way does not leave the table otherwise. The
    // gateway may not know yet, and its answer may come when it does.
    if (!present && log_->PendingOf(inode) != 0) co_return Error{ESTALE, "inode"};
    if (present && log_->PendingOf(inode) != 0) {
      co_await log_->WaitIdle(inode);
      continue;
    }
    if (present && !flushed && contents_->MayBeDirty(inode)) {
      flushed = true;
      contents_->Flush(inode);
      continue;
    }
    // What the gateway did not take stays what is shown here.
    if (present && contents_->IsDirty(inode)) co_return Result<void>{};
    const auto running = resolving_.find(key);
    if (running != resolving_.end()) {
      const std::shared_ptr<Event> event = running->second;
      co_await event->Wait();
      continue;
    }
    Once once(&resolving_, key, executor_);
    if (!present && !evictor_->HasRoom(1) && !co_await evictor_->MakeRoom(1)) {
      co_return Error{ENFILE, "all known files are in use"};
    }
    auto refreshed = co_await Refresh(std::vector<uint64_t>(1, inode));
    if (!refreshed && refreshed.error().code == ENOSPC) continue;  // others were faster
    if (!refreshed) co_return refreshed.error();
    if (inodes_->IndexOf(inode) == shm::kNoIndex) co_return Error{ESTALE, "inode"};
  }
}

Result<void> Tree::InsertInode(uint64_t parent, const DirEntry& entry) {
  const uint64_t inode = entry.attr.inode;
  const auto record = inodes_->Get(inode);
  const bool refresh = record && (inodes_->IsStale(inode) || (record->flags & shm::kOrphan) != 0) &&
                       log_->PendingOf(inode) == 0 && !contents_->HasFile(inode);
  // Removed here, while another host gave it another name.
  const bool not_gone = record && !refresh && entry.attr.nlink > 0 &&
                        (record->flags & shm::kOrphan) != 0 &&
                        (record->flags & shm::kNameless) == 0 && log_->PendingOf(inode) == 0;
  if (not_gone) {
    NotGone(inode);
    inodes_->MarkStale(inode);
  }
  auto index = inodes_->Insert(entry.attr, refresh);
  if (refresh || !record) xattrs_.Drop(inode);
  if (!index) return index.error();
  if (IsDirectory(entry.attr.mode)) PlaceDirectory(inode, parent);
  if (!record && entry.inlined && IsRegular(entry.attr.mode) &&
      entry.content.size() == entry.attr.size && entry.attr.size <= kSmallFile) {
    (void)inodes_->StoreSmall(
        inode, {reinterpret_cast<const uint8_t*>(entry.content.data()), entry.content.size()});
  }
  return {};
}

Result<uint64_t> Tree::InsertEntry(uint64_t parent, const DirEntry& entry) {
  AIRSTORE_TRY(InsertInode(parent, entry));
  MakeRoomForNames();
  auto added = inodes_->meta().AddDentry(parent, entry.name, entry.attr.inode,
                                         (entry.attr.mode & 0170000) >> 12);
  if (!added) return added.error();
  evictor_->Watch();
  return entry.attr.inode;
}

void Tree::NoteParent(uint64_t parent, uint64_t inode) {
  const auto record = inodes_->Get(inode);
  if (record && IsDirectory(record->mode)) inodes_->directories().Set(inode, parent);
}

void Tree::AddNegative(uint64_t parent, const std::string& name) {
  if (auto added = inodes_->meta().AddDentry(parent, name, 0, 0)) {
    NoteNegative(*added, parent, name.size());
  }
}

// Of the places for long names they get a part: names that exist need them.
void Tree::NoteNegative(uint32_t index, uint64_t parent, size_t name_bytes) {
  negatives_.push_back({index, parent, name_bytes > shm::kInlineName});
  if (negatives_.back().is_long) ++long_negatives_;
  const uint32_t most_long = inodes_->meta().reader().view().geometry().long_name_capacity / 4;
  while (negatives_.size() > kNegativeNames || long_negatives_ > most_long) DropOldestNegative();
}

void Tree::DropOldestNegative() {
  const Negative oldest = negatives_.front();
  negatives_.pop_front();
  if (oldest.is_long) --long_negatives_;
  DropNegative(oldest);
}

void Tree::DropNegative(const Negative& negative) {
  const shm::DentryRecord record = inodes_->meta().Dentry(negative.dentry);
  if (record.parent != negative.parent || record.inode != 0) return;
  inodes_->meta().RemoveDentry(negative.dentry);
  // A page that comes may be of before the name was removed here.
  if (listing_.contains(record.parent)) inodes_->freshness().NamesDropped(record.parent);
}

void Tree::MakeRoomForNames() {
  while (!negatives_.empty()) {
    const shm::MetaWriter::Room room = inodes_->meta().room();
    if (room.dentries != 0 && (room.long_names != 0 || long_negatives_ == 0)) return;
    DropOldestNegative();
  }
}

Task<Result<void>> Tree::LoadTarget(uint64_t inode) {
  AIRSTORE_TRY_CO(co_await Ensure(inode));
  const auto record = inodes_->Get(inode);
  if (!record || !IsSymlink(record->mode)) co_return Error{EINVAL, "not a symbolic link"};
  if (record->content_kind == static_cast<uint32_t>(shm::ContentKind::kSlab)) {
    co_return Result<void>{};
  }
  const int64_t deadline = MonotonicNs() + patience_ns_;
  auto results = co_await ResolveBefore(deadline, OneGetattr(inode, 0));
  if (results && results->front().error == ENOENT && log_->PendingOf(inode) != 0) {
    // The gateway answers, and has not heard of it yet.
    co_await log_->WaitIdle(inode);
    results = co_await ResolveBefore(deadline, OneGetattr(inode, 0));
  }
  if (!results) co_return results.error();
  if (results->front().error != 0) co_return Error{results->front().error, "symbolic link"};
  const std::string target = results->front().entry.attr.symlink_target;
  co_return inodes_->StoreSmall(inode,
                                {reinterpret_cast<const uint8_t*>(target.data()), target.size()});
}

Task<Result<uint64_t>> Tree::LookupUp(uint64_t directory) {
  AIRSTORE_TRY_CO(co_await Ensure(directory));
  const auto record = inodes_->Get(directory);
  if (!record || !IsDirectory(record->mode)) co_return Error{ENOTDIR, ".."};
  const uint64_t up =
      directory == shm::kRootInode ? directory : inodes_->directories().ParentOf(directory);
  if (up == 0) co_return Error{EOPNOTSUPP, "the directory was not found by a name"};
  AIRSTORE_TRY_CO(co_await Ensure(up));
  co_return up;
}

Task<Result<uint64_t>> Tree::Lookup(uint64_t parent, std::string name) {
  if (name == "..") co_return co_await LookupUp(parent);
  // Its names are kept up to date whether its attributes are or not.
  if (inodes_->IndexOf(parent) == shm::kNoIndex) AIRSTORE_TRY_CO(co_await Ensure(parent));
  const std::string key = std::to_string(parent) + "/" + name;
  const int64_t deadline = MonotonicNs() + patience_ns_;
  for (;;) {
    const auto directory = inodes_->Get(parent);
    if (!directory) co_return Error{ESTALE, "directory"};
    if (!IsDirectory(directory->mode)) co_return Error{ENOTDIR, name};
    const uint32_t index = inodes_->meta().FindDentry(parent, name);
    if (index != shm::kNoIndex) {
      const uint64_t inode = inodes_->meta().Dentry(index).inode;
      if (inode == 0) co_return Error{ENOENT, name};
      AIRSTORE_TRY_CO(co_await Ensure(inode));
      const uint32_t again = inodes_->meta().FindDentry(parent, name);
      if (again != shm::kNoIndex && inodes_->meta().Dentry(again).inode == inode) {
        NoteParent(parent, inode);
        co_return inode;
      }
      continue;
    }
    if ((directory->flags & (shm::kListingComplete | shm::kOrphan)) != 0) {
      AddNegative(parent, name);
      co_return Error{ENOENT, name};
    }
    if (const Ticket pending = log_->PendingOf(parent); pending != 0) {
      // The gateway does not know yet what was removed here.
      AIRSTORE_TRY_CO(co_await log_->WaitSettledBefore(deadline, pending));
      continue;
    }
    const auto running = resolving_.find(key);
    const auto listing = resolving_.find(ListingKey(parent));
    if (listing != resolving_.end()) {
      const std::shared_ptr<Event> event = listing->second;
      co_await event->Wait();
    } else if (running == resolving_.end()) {
      Once once(&resolving_, key, executor_);
      std::optional<Once> listed;
      if (WorthListing(parent)) listed.emplace(&resolving_, ListingKey(parent), executor_);
      const Freshness::Question question(&inodes_->freshness());
      const std::vector<ResolveItem> items =
          listed ? LookupAndList(parent, name) : OneLookup(parent, name);
      auto results = co_await ResolveBefore(deadline, items);
      if (!results) co_return results.error();
      if (!question.Holds(parent) || log_->PendingOf(parent) != 0 ||
          inodes_->meta().FindDentry(parent, name) != shm::kNoIndex) {
        continue;  // changed here meanwhile: what came may be of before
      }
      if (listed && results->size() == 2 && Holds(question, results->back()) &&
          TakeWholeListing(parent, results->back())) {
        continue;
      }
      ResolveResult& result = results->front();
      if (!Holds(question, result)) continue;
      if (result.error == ENOENT) {
        AddNegative(parent, name);
        co_return Error{ENOENT, name};
      } else if (result.error != 0) {
        co_return Error{result.error, name};
      } else {
        result.entry.name = name;
        auto inserted = InsertEntry(parent, result.entry);
        if (inserted) continue;
        if (inserted.error().code != ENOSPC) co_return inserted.error();
        if (!co_await evictor_->MakeRoom(1)) co_return Error{ENFILE, "all known files are in use"};
      }
    } else {
      const std::shared_ptr<Event> event = running->second;
      co_await event->Wait();
    }
  }
}

std::string Tree::ListingKey(uint64_t directory) { return "@" + std::to_string(directory); }

bool Tree::WorthListing(uint64_t directory) {
  if (misses_.size() > kCountedDirectories) misses_.clear();
  uint32_t& misses = misses_[directory];
  return misses != kLargeDirectory && ++misses > 1;
}

bool Tree::TakeWholeListing(uint64_t directory, const ResolveResult& page) {
  if (page.error != 0) return false;
  if (!page.end) {
    misses_[directory] = kLargeDirectory;
    return false;
  }
  if (!InsertPage(directory, page)) return false;
  MarkListed(directory);
  return true;
}

Result<void> Tree::InsertPage(uint64_t directory, const ResolveResult& page) {
  const uint32_t spare = inodes_->meta().reader().view().geometry().inode_capacity / 32;
  for (const DirEntry& entry : page.entries) {
    // What is known here of a name is newer, also that it does not exist.
    const uint32_t known = inodes_->meta().FindDentry(directory, entry.name);
    if (known != shm::kNoIndex && inodes_->meta().Dentry(known).inode != entry.attr.inode) continue;
    // The last places are for those that somebody asks for.
    if (!entry.name_only &&
        (inodes_->IndexOf(entry.attr.inode) != shm::kNoIndex || evictor_->HasRoom(spare))) {
      auto inserted = InsertInode(directory, entry);
      if (!inserted && inserted.error().code != ENOSPC) return inserted.error();
    }
    if (known != shm::kNoIndex) continue;
    auto added = inodes_->meta().AddDentry(directory, entry.name, entry.attr.inode,
                                           (entry.attr.mode & 0170000) >> 12);
    if (!added) return added.error();
  }
  evictor_->Watch();
  return {};
}

// A name removed here while the pages came is a negative entry by now; one made here is in the
// chain. So the chain is the listing.
void Tree::MarkListed(uint64_t directory) {
  misses_.erase(directory);
  inodes_->Update(directory,
                  [](shm::InodeRecord& changed) { changed.flags |= shm::kListingComplete; });
}

Task<Result<void>> Tree::AddChanged(uint64_t directory, std::set<std::string>* names,
                                    int64_t deadline) {
  while (!names->empty()) {
    std::vector<std::string> asked;
    std::vector<ResolveItem> items;
    while (!names->empty() && asked.size() < kNamesAtOnce) {
      asked.push_back(names->extract(names->begin()).value());
      items.push_back(OneLookup(directory, asked.back()).front());
    }
    const Freshness::Question question(&inodes_->freshness());
    auto results = co_await ResolveBefore(deadline, std::move(items));
    if (!results) co_return results.error();
    if (!question.HoldsAtAll()) co_return Error{EAGAIN, "listing"};
    for (size_t i = 0; i < std::min(asked.size(), results->size()); ++i) {
      ResolveResult& result = (*results)[i];
      // Changed once more; or made or removed here, which is newer.
      if (names->contains(asked[i]) ||
          inodes_->meta().FindDentry(directory, asked[i]) != shm::kNoIndex ||
          result.error == ENOENT) {
        continue;
      }
      if (result.error != 0) co_return Error{result.error, "listing"};
      if (!Holds(question, result)) {
        names->insert(asked[i]);
        continue;
      }
      result.entry.name = asked[i];
      if (auto inserted = InsertEntry(directory, result.entry); !inserted) {
        co_return Error{ENFILE, "all known files are in use"};
      }
    }
  }
  co_return Result<void>{};
}

Task<Result<void>> Tree::LoadListing(uint64_t directory) {
  AIRSTORE_TRY_CO(co_await Ensure(directory));
  const std::string key = ListingKey(directory);
  const int64_t deadline = MonotonicNs() + patience_ns_;
  for (;;) {
    const auto record = inodes_->Get(directory);
    if (!record) co_return Error{ESTALE, "directory"};
    if (!IsDirectory(record->mode)) co_return Error{ENOTDIR, "listing"};
    if ((record->flags & (shm::kListingComplete | shm::kOrphan)) != 0) co_return Result<void>{};
    const auto running = resolving_.find(key);
    if (running != resolving_.end()) {
      const std::shared_ptr<Event> event = running->second;
      co_await event->Wait();
      continue;
    }
    if (const Ticket pending = log_->PendingOf(directory); pending != 0) {
      AIRSTORE_TRY_CO(co_await log_->WaitSettledBefore(deadline, pending));
      continue;
    }
    Once once(&resolving_, key, executor_);
    Freshness::Question question(&inodes_->freshness());
    ChangedNames changed(&listing_, directory);
    std::string after;
    bool end = false;
    while (!end) {
      const Freshness::Question of_page(&inodes_->freshness());
      auto results = co_await ResolveBefore(deadline, OneList(directory, after));
      if (!results) co_return results.error();
      ResolveResult& page = results->front();
      if (page.error != 0) co_return Error{page.error == ENOENT ? ESTALE : page.error, "listing"};
      const auto entries = static_cast<uint32_t>(page.entries.size());
      if (!evictor_->HasRoom(entries)) (void)co_await evictor_->MakeRoom(entries);
      if (!question.HoldsAtAll() || !question.HoldsNames(directory)) {
        question.AskAgain();
        changed.names.clear();
        after.clear();
        continue;
      }
      // What changed meanwhile is asked for by whoever wants to know: the rest need not come again.
      for (DirEntry& entry : page.entries) {
        entry.name_only = entry.name_only || !of_page.Holds(entry.attr.inode);
      }
      end = page.end || page.entries.empty();
      if (!page.entries.empty()) after = page.entries.back().name;
      // The page may be of before.
      std::erase_if(page.entries,
                    [&](const DirEntry& entry) { return changed.names.contains(entry.name); });
      if (auto inserted = InsertPage(directory, page); !inserted) {
        if (inserted.error().code != ENOSPC) co_return inserted.error();
        co_return Error{ENFILE, "all known files are in use"};
      }
    }
    auto added = co_await AddChanged(directory, &changed.names, deadline);
    if (!added && added.error().code == EAGAIN) continue;
    if (!added) co_return added.error();
    if (!question.HoldsNames(directory)) continue;
    MarkListed(directory);
  }
}

}  // namespace airstore::broker
