// SPDX-License-Identifier: Apache-2.0
//
// Tree: the session's namespace: resolving names at the gateway when they are not here, and
// changing the tree. Every change takes one road: resolve what it touches, validate against the
// local tree, make sure that the journal has room, append to the mutation log (which puts it on
// record), apply locally, invalidate the other mounts, and, without a write lease, wait until the
// gateway has it.
//
// Between the last co_await of an operation and its effect nothing else runs, so a validation still
// holds when it is acted upon.
// Threads: the event loop.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "broker/contents.h"
#include "broker/evictor.h"
#include "broker/gateway.h"
#include "broker/inode_cache.h"
#include "broker/mutation_log.h"
#include "broker/xattr_cache.h"
#include "shm/request_rules.h"

namespace airstore::broker {

class AnnouncedChange;

// Names known not to exist: so many are kept.
inline constexpr uint32_t kNegativeNames = 1u << 16;

struct NewNode {
  uint32_t mode = 0;   // with type bits
  uint32_t umask = 0;  // where the directory has no default access control list
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t rdev = 0;
  std::string symlink_target;
};

struct AttrChange {
  uint32_t valid = 0;  // shm::SetattrValid; 0: what a write does to set-id bits
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t size = 0;
  int64_t atime_ns = 0;
  int64_t mtime_ns = 0;
  // Who changes it is in the file's group, or root: the set-group-id bit of a file that its group
  // may not execute stays.
  bool of_group = true;
  // An earlier broker has given it that size, by the change of that number: what is in the file by
  // now may have been written behind it.
  std::optional<Ticket> cut_by = {};
};

// Where a change comes from.
struct Origin {
  MountPort* mount = nullptr;
  uint64_t position = 0;  // of the call in the mount's queue
  uint32_t slot = 0;      // of the call

  CallPlace place() const {
    return mount == nullptr ? CallPlace{} : CallPlace{mount->index(), position};
  }
};

class Tree {
 public:
  Tree(boost::asio::any_io_executor executor, Tasks* tasks, InodeCache* inodes, Gateway* gateway,
       Contents* contents, MutationLog* log, MountSet* mounts, Evictor* evictor);

  // ---- tree_adopt.cc: what a dead broker left, before anything else.
  // Makes anew what is not in the tables, and finishes the change that it died in.
  void Adopt(const JournalState& state);
  // The gateway has answered for that change, and nobody knows any more what.
  bool AnsweredBefore(const shm::Executed& executed) const;
  // What came of the call at that place, if it was carried out.
  std::optional<shm::Executed> ExecutedBefore(const CallPlace& place) const;
  // Those without a name that nobody holds any more. When all mounts are there.
  void ReclaimOrphans();

  void GrantInodes(uint64_t first, uint64_t count);
  // Asked before an inode is made: EDQUOT when there may be no more.
  using AdmitInode = std::function<Task<Result<void>>()>;
  void SetAdmitInode(AdmitInode admit) { admit_inode_ = std::move(admit); }
  // For when those at hand are used up; left alone when there are more already.
  void AddSpareInodes(uint64_t first, uint64_t count);
  // How long an operation waits for the gateway before it fails with ETIMEDOUT.
  void SetPatience(int64_t patience_ns) { patience_ns_ = patience_ns; }
  void SetMaxFileBytes(uint64_t bytes) { max_file_bytes_ = std::min(bytes, shm::kGreatestFile); }
  // Mutations are acknowledged from here (true) or only by the gateway, but for those in zones that
  // the log holds leases of.
  void SetLease(bool held);
  // Called whenever a change had to wait for the gateway; the zone that it lies in, 0: several.
  void OnSynchronous(std::function<void(uint64_t zone)> on_synchronous) {
    on_synchronous_ = std::move(on_synchronous);
  }
  bool lease() const { return lease_; }
  // Changes of the inode are acknowledged from here.
  bool AcknowledgesHere(uint64_t inode) const {
    return lease_ || log_->HoldsZone(ZoneOfInode(inode));
  }
  // A change of its content had to wait, as above.
  void WaitedForGateway(uint64_t inode);

  // ---- tree_zones.cc: the directory in the root that something is in or below; the root for what
  // is in none; 0: not known, or in several.
  uint64_t ZoneOfNames(uint64_t directory) const;
  uint64_t ZoneOfInode(uint64_t inode) const;
  uint64_t ZoneOf(const Mutation& mutation) const;
  // Of changes in a zone that is not leased: they are not begun while the gateway is known to be
  // away. ETIMEDOUT after the patience.
  Task<Result<void>> AwaitGateway(uint64_t zone);
  // Gives up what is cached of a zone, and tells the gateway through `tell`. False: something of it
  // is in use; nothing was told.
  Task<bool> ForgetZone(uint64_t zone, std::function<Task<void>()> tell);
  // The gateway has removed a directory that was a zone.
  void OnZoneRemoved(std::function<Task<void>(uint64_t zone)> call) {
    zone_removed_ = std::move(call);
  }
  // Before a directory leaves or enters the zone: gives back its lease, if it is held, and holds
  // none until the end.
  void MoveZonesWith(std::function<Task<void>(uint64_t zone)> begin,
                     std::function<void(uint64_t zone)> end) {
    begin_move_of_zone_ = std::move(begin);
    end_move_of_zone_ = std::move(end);
  }

  // The inode is about to be opened or changed, as it is known here, and something else is waited
  // for first: the zone is not forgotten meanwhile.
  class Busy {
   public:
    Busy(Tree* tree, uint64_t inode) : tree_(tree), at_(tree->busy_.insert(inode)) {}
    ~Busy() { tree_->busy_.erase(at_); }
    Busy(const Busy&) = delete;
    Busy& operator=(const Busy&) = delete;

   private:
    Tree* tree_;
    std::multiset<uint64_t>::iterator at_;
  };

  // Makes sure the inode is in the table, as the gateway has it. ESTALE: it does not exist.
  Task<Result<void>> Ensure(uint64_t inode);
  // The child's inode number; it is in the table. ENOENT, ENOTDIR. "..": the directory above;
  // EOPNOTSUPP for one that nobody has looked up by its name.
  Task<Result<uint64_t>> Lookup(uint64_t parent, std::string name);
  // Makes the directory's chain of dentries complete, attributes of all children in the table.
  Task<Result<void>> LoadListing(uint64_t directory);

  // Makes a symbolic link's target present in a slab.
  Task<Result<void>> LoadTarget(uint64_t inode);

  // `origin`: the other mounts are invalidated. ENOSPC, with nothing changed, when the change
  // cannot be put on record.
  Task<Result<uint64_t>> Create(Origin origin, uint64_t parent, std::string name, NewNode node);
  // A regular file without a name, which Link may give it one. The gateway knows nothing of it.
  Task<Result<uint64_t>> CreateNameless(uint64_t parent, NewNode node);
  Task<Result<void>> Remove(Origin origin, uint64_t parent, std::string name, bool directory);
  // `flags`: of renameat2(2). `whiteout`: owner of what RENAME_WHITEOUT leaves.
  Task<Result<void>> Rename(Origin origin, uint64_t parent, std::string name, uint64_t new_parent,
                            std::string new_name, uint32_t flags, NewNode whiteout);
  Task<Result<void>> Link(Origin origin, uint64_t inode, uint64_t parent, std::string name);
  // The file was read at that time. Moves its time of access, if that is due still; nobody waits
  // for the gateway. `mount`: through which.
  Task<void> Touch(MountPort* mount, uint64_t inode, int64_t time_ns);
  // When the mount's kernel has read it by passthrough, if its time of access is due; 0: it has
  // not, or the mount does not have it open.
  int64_t UnseenRead(const MountPort& mount, uint64_t inode);
  // The kernel is about to read it by passthrough: if its time of access is due, the content file
  // shall show that.
  void ExpectRead(uint64_t inode);
  Task<Result<void>> Setattr(Origin origin, uint64_t inode, AttrChange change);
  // `mode`: of fallocate(2). The file is open for writing. `done`: by an earlier broker, all but
  // telling the other mounts.
  Task<Result<void>> Fallocate(Origin origin, uint64_t inode, uint64_t offset, uint64_t length,
                               int mode, bool done);
  // How much of it was copied. The target is open for writing.
  Task<Result<uint64_t>> CopyRange(Origin origin, broker::CopyRange range);

  // Extended attributes (tree_xattrs.cc). ENODATA, EEXIST, E2BIG, ENOSPC, EOPNOTSUPP as xattr(7)
  // has them.
  Task<Result<std::string>> GetXattr(uint64_t inode, std::string name);
  Task<Result<Xattrs>> ListXattrs(uint64_t inode);
  // `flags`: of setxattr(2). `kill_sgid`: the caller may not keep set-group-id.
  Task<Result<void>> SetXattr(Origin origin, uint64_t inode, std::string name, std::string value,
                              uint32_t flags, bool kill_sgid);
  Task<Result<void>> RemoveXattr(Origin origin, uint64_t inode, std::string name);
  // The file is written. Does not wait for the gateway under a lease.
  Task<Result<void>> KillCapabilities(Origin origin, uint64_t inode);

  // The rest of a change that was carried out by a broker that has died: tells the other mounts and
  // waits like the change itself. `takes`, `gives`: the names that it takes from the inode and
  // gives to it. ESTALE: the gateway had refused it, and it is to be asked for again.
  Task<Result<void>> FinishChange(Origin origin, shm::Executed executed,
                                  std::vector<WatchEvent::Name> takes,
                                  std::vector<WatchEvent::Name> gives);

  // Paths from the root, of those of the inodes that have a name in the table. For people: it looks
  // at every entry.
  Task<std::unordered_map<uint64_t, std::string>> PathsOf(std::unordered_set<uint64_t> inodes);

  // Of what was unsent when all names were given up last; empty: it was not.
  std::string LastPathOf(uint64_t inode) const {
    const auto found = last_paths_.find(inode);
    return found == last_paths_.end() ? std::string() : found->second;
  }

  // Path of a directory, as far as it is known here. For people.
  std::string DirectoryPath(uint64_t directory) const;

  // Ends what runs by itself.
  void Stop();

  // An orphan that no mount knows any more is dropped for good.
  void ReclaimOrphan(uint64_t inode);
  // The gateway refused a change that was made here: what is cached of it is not to be believed.
  void DropAfterRefusal(const Mutation& mutation, const std::vector<uint64_t>& subjects, int error);

  // Another host changed these; returns when nothing older is shown by any mount. What is pending
  // here stays, and is looked at again when the gateway has it.
  Task<void> ApplyRemote(std::vector<uint64_t> inodes, std::vector<WatchEvent::Name> names);
  Task<Result<void>> AskWhatCameOf(uint64_t inode, std::vector<WatchEvent::Name> takes,
                                   std::vector<WatchEvent::Name> gives);
  // What was told of these long ago is asked for again; of the directories, all names.
  Task<void> Age(std::vector<uint64_t> inodes, std::vector<uint64_t> directories);
  // What a dead broker knew to have changed, and may have brought up to date in part.
  void FollowStale() { FollowOpen(inodes_->Stale()); }
  // Events were lost: nothing that is cached here is believed any more.
  Task<void> ForgetAll();
  // Brings the attributes of stale children up to date.
  Task<Result<void>> RefreshChildren(uint64_t directory);

  Task<void> NotifyName(MountPort* origin, uint64_t parent, std::string name);
  Task<void> NotifyData(MountPort* origin, uint64_t inode, uint64_t offset, uint64_t length);
  // Before a change of content: what other mounts have stored there to maps is there when it
  // returns. `length` 0: to the end.
  Task<void> AnnounceData(MountPort* origin, uint64_t inode, uint64_t offset, uint64_t length);
  // One mount, by its index: it may be gone when this begins.
  Task<void> TellData(uint32_t to, uint64_t inode, uint64_t offset, uint64_t length,
                      std::optional<FileEnd> end);
  void NotifyAttr(MountPort* origin, uint64_t inode);
  void NotifyOwner(MountPort* origin, uint64_t inode);

 private:
  bool ExpectsVersion(uint64_t inode, const Mutation& mutation) const;
  // The change cuts the file, or takes its last name: as it is known here.
  void ExpectVersion(uint64_t inode, Mutation* mutation) const;
  void ExpectVersionOfRemoved(uint64_t inode, Mutation* mutation) const;
  // It was taken for gone, and has a name at the gateway.
  void NotGone(uint64_t inode);
  static constexpr size_t kDeepest = 2048;  // a path has 4,096 bytes

  // The directory was moved: kernels of other mounts that have it find it where it is now.
  Task<void> ShowMoved(MountPort* origin, uint64_t directory);
  // The mounts whose frontends may have told their kernels of it, `origin` excepted.
  std::vector<uint32_t> Knowing(uint64_t inode, const MountPort* origin) const;
  Task<void> TellChanged(uint32_t to, uint64_t inode, uint64_t offset, uint64_t length,
                         std::optional<FileEnd> end);
  Task<Result<uint64_t>> NextInode();
  void NoteUnusedInodes();
  // A change is on record, and its effect on the tables follows at once.
  void Began(const Origin& origin, uint64_t inode, Ticket ticket);
  void Applied(Ticket ticket);
  // So that a name can be added without failing.
  Result<void> MakeRoom(uint64_t parent, const std::string& name);
  // What changes do to the tables. `again`: a broker may have died in the middle of it.
  void ApplyCreate(const CreateOp& op, int64_t time_ns, bool again);
  void ApplyLink(const LinkOp& op, int64_t time_ns, bool again);
  void ApplyRemove(const UnlinkOp& op, int64_t time_ns, bool again);
  void ApplyRename(const RenameOp& op, uint64_t inode, uint64_t replaced, int64_t time_ns,
                   bool again);
  void ApplyExchange(const RenameOp& op, uint64_t inode, uint64_t target, int64_t time_ns,
                     bool again);
  // But for the size, which is the content's.
  void ApplySetattr(const SetattrOp& op);
  void ApplyAgain(const MutationRecord& record);
  void RestoreTarget(const CreateOp& op);
  void FinishElision(const MutationRecord& record);
  Task<void> AskForInodes();
  // `zone`: of the change.
  Task<Result<void>> Committed(Ticket ticket, uint64_t inode, uint64_t zone);
  Result<uint64_t> InsertEntry(uint64_t parent, const DirEntry& entry);
  Result<void> InsertInode(uint64_t parent, const DirEntry& entry);
  // If it is a directory: where it hangs, which nobody has said if it had left the table.
  void NoteParent(uint64_t parent, uint64_t inode);
  // A name that is known not to exist: so many are kept that they are in nobody's way.
  struct Negative {
    uint32_t dentry = 0;
    uint64_t parent = 0;
    bool is_long = false;  // takes a place for long names
  };
  void AddNegative(uint64_t parent, const std::string& name);
  void NoteNegative(uint32_t index, uint64_t parent, size_t name_bytes);
  void DropOldestNegative();
  void DropNegative(const Negative& negative);
  // ... for one that exists, if that takes those that do not.
  void MakeRoomForNames();
  static std::string ListingKey(uint64_t directory);
  // Counts a miss. Whoever asks for a second name of a directory will ask for more: bringing the
  // whole listing along makes those local, names that do not exist included.
  bool WorthListing(uint64_t directory);
  // False: it is not the whole listing.
  bool TakeWholeListing(uint64_t directory, const ResolveResult& page);
  // Names always; the inodes they lead to as long as there is room, for they can be asked for.
  Result<void> InsertPage(uint64_t directory, const ResolveResult& page);
  // Those of the names that there are; EAGAIN: nothing that was learned so far is to be believed.
  Task<Result<void>> AddChanged(uint64_t directory, std::set<std::string>* names, int64_t deadline);
  void MarkListed(uint64_t directory);
  void TouchDirectory(uint64_t directory, int64_t now_ns, int nlink_change, bool again);
  void LoseName(uint64_t inode, bool directory, int64_t now_ns, bool again);
  bool IsBelow(uint64_t directory, uint64_t ancestor) const;
  // The part of a creation behind the last wait: permissions, owner and what is inherited.
  struct Inherited {
    shm::InodeRecord record;
    Xattrs xattrs;
  };
  Inherited Inherit(uint64_t inode, const shm::InodeRecord& directory, const NewNode& node,
                    int64_t now_ns) const;
  Result<void> InsertInherited(const Inherited& made);
  // tree_rename.cc
  struct RenamePlan;
  Task<Result<RenamePlan>> PlanRename(uint64_t parent, std::string name, uint64_t new_parent,
                                      std::string new_name, uint32_t flags);
  Result<void> CheckRename(const RenamePlan& plan, uint64_t parent, uint64_t new_parent,
                           const std::string& new_name, uint32_t flags) const;
  // Adds to `moving` the zones whose move begins with it.
  Task<Result<bool>> SettleZones(const RenamePlan& plan, uint64_t parent, uint64_t new_parent,
                                 std::vector<uint64_t>* moving);
  // It came from another zone: it is asked for again when the gateway has that.
  Task<void> AskAgainWhenMoved(uint64_t inode);
  void MoveParent(uint64_t inode, const shm::InodeRecord& record, uint64_t from, uint64_t to);
  Result<void> AddWhiteout(uint64_t inode, const NewNode& node, uint64_t parent,
                           const std::string& name, int64_t now_ns);
  // tree_link.cc
  Ticket NameNameless(Origin origin, uint64_t inode, uint64_t parent, const std::string& name,
                      int64_t now_ns);
  Ticket TimesOfNamed(const shm::InodeRecord& record, uint64_t parent, int64_t now_ns);
  void FinishNaming(const CreateOp& op, const shm::InodeRecord& record);
  // tree_xattrs.cc. What the gateway has, or has been changed since.
  Task<Result<Xattrs>> LoadXattrs(uint64_t inode);
  Task<Result<Xattrs>> LoadAndAnnounce(uint64_t inode, AnnouncedChange* change);
  Task<void> LearnXattrs(uint64_t inode);
  void StoreXattrs(uint64_t inode, Xattrs xattrs);
  // Of an inode whose last name is about to go, and with it what the gateway has.
  void KeepXattrs(uint64_t inode);
  // It is about to lose its last name while it is open, and they are not here yet.
  bool WantsXattrs(uint64_t inode, const shm::InodeRecord& record);
  void AdoptXattrs(const JournalState& state);
  Ticket LogXattr(Origin origin, uint64_t inode, const std::string& name,
                  std::optional<std::string> value, std::optional<uint32_t> mode, int64_t now_ns);
  Task<Result<void>> RequireEmpty(uint64_t directory);
  // The name does not exist, and there is room for it. EEXIST, ENOSPC.
  Task<Result<void>> RequireFree(uint64_t parent, std::string name);
  // tree_zones.cc
  bool ZoneIsHere(uint64_t zone) const { return lease_ || log_->HoldsZone(zone); }
  bool InZone(uint64_t inode, uint64_t zone) const;
  bool InUse(uint32_t index, uint64_t inode) const;
  // Says whether one of the zone's inodes answers to it; a piece at a time.
  using Asks = std::function<bool(uint32_t index, uint64_t inode)>;
  Task<bool> AnyInZone(uint64_t zone, Asks asks);
  // 0 under the lease of all, where nobody asks.
  uint64_t ZoneIfShared(uint64_t inode) const { return lease_ ? 0 : ZoneOfInode(inode); }
  // The gateway says that it hangs there.
  void PlaceDirectory(uint64_t directory, uint64_t parent);
  Task<void> TellRemoved(uint64_t zone);
  Task<void> ForgetBelow(uint64_t directory);
  bool IsCached(uint32_t index, uint64_t inode, uint64_t zone) const;
  // tree_remote.cc
  Task<void> ForgetThose(std::function<bool(uint64_t inode)> which);
  // One that cannot be had keeps no other from being what it is now, and either is a failure or
  // just stays stale: who wants it asks again.
  enum class OfOne { kFails, kStaysStale };
  Task<Result<void>> Refresh(std::vector<uint64_t> inodes, OfOne failure = OfOne::kFails);
  Task<Result<void>> TakeFresh(const ResolveResult& result);
  void DropName(uint64_t parent, const std::string& name, RemoteChanges* kernels,
                std::vector<uint64_t>* lost);
  void DropInode(uint64_t inode, RemoteChanges* kernels);
  void DropNames(uint32_t index, bool by_name, RemoteChanges* kernels);
  Task<void> TellKernels(RemoteChanges changes);
  // ---- tree_follow.cc
  Task<void> FollowUp(std::vector<uint64_t> inodes, std::vector<uint64_t> lost);
  Task<void> RefreshWhenSettled(uint64_t inode);
  // Those that are open and stale, until they are not.
  void FollowOpen(const std::vector<uint64_t>& inodes);
  Task<void> KeepFollowing(uint64_t inode);

  void NoteWriteError(uint64_t inode, int error);
  void MarkGone(uint64_t inode);
  bool MayForget(uint64_t inode) const;
  void DropNegatives(const std::set<uint64_t>& directories);
  // tree_limits.cc: what the gateway cannot keep. EPERM, EOPNOTSUPP, EILSEQ, EFBIG.
  Result<void> CheckNewName(const std::string& name) const;
  // Who has it open would find no content any more once its last name is gone.
  bool NeedsContent(uint64_t inode) const;
  Result<void> CheckNew(const NewNode& node) const;
  void Conform(Attr* attr) const;
  // Leaves out of the change what is so already.
  Result<void> CheckSetattr(const shm::InodeRecord& record, AttrChange* change) const;

  Task<Result<uint64_t>> LookupUp(uint64_t directory);
  Task<Result<std::vector<ResolveResult>>> ResolveBefore(int64_t deadline_ns,
                                                         std::vector<ResolveItem> items);

  boost::asio::any_io_executor executor_;
  Tasks* tasks_;
  InodeCache* inodes_;
  Gateway* gateway_;
  Contents* contents_;
  MutationLog* log_;
  MountSet* mounts_;
  Evictor* evictor_;
  bool lease_ = false;
  int64_t patience_ns_ = 30'000'000'000;
  uint64_t max_file_bytes_ = UINT64_MAX;
  std::function<void(uint64_t)> on_synchronous_;
  std::function<Task<void>(uint64_t)> begin_move_of_zone_;
  std::function<void(uint64_t)> end_move_of_zone_;
  std::function<Task<void>(uint64_t)> zone_removed_;
  bool forgetting_ = false;  // questions wait
  std::multiset<uint64_t> busy_;
  Event forgotten_;
  AdmitInode admit_inode_;

  uint64_t next_inode_ = 0;
  uint64_t end_inode_ = 0;
  uint64_t noted_inode_ = 0;  // from here on the journal says that numbers are unused
  uint64_t spare_first_ = 0;  // the next range, asked for before the current one ends
  uint64_t spare_end_ = 0;
  bool asking_inodes_ = false;
  bool stopping_ = false;
  Event inodes_granted_;  // or it is over

  std::unordered_map<std::string, std::shared_ptr<Event>> resolving_;  // misses under way
  // By directory whose listing comes: names that other hosts have changed meanwhile.
  std::unordered_map<uint64_t, std::set<std::string>*> listing_;
  std::unordered_set<uint64_t> following_;         // see KeepFollowing
  std::unordered_map<uint64_t, uint32_t> misses_;  // names asked for, by incomplete directory
  XattrCache xattrs_;
  std::unordered_set<uint64_t> learning_xattrs_;
  // Negative entries, oldest first: there is no end to the names that do not exist.
  std::unordered_map<uint64_t, std::string> last_paths_;
  std::deque<Negative> negatives_;
  size_t long_negatives_ = 0;
  std::set<uint64_t> announcing_;  // inodes whose content other kernels are writing out
  // Calls whose changes were pending when their broker died.
  std::map<std::pair<uint32_t, uint64_t>, shm::Executed> executed_before_;
  Ticket adopted_until_ = 0;  // of a dead broker; the others of them were settled
  std::unordered_set<Ticket> adopted_unsettled_;
};

}  // namespace airstore::broker
