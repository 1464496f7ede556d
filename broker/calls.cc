// SPDX-License-Identifier: Apache-2.0
#include "broker/calls.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include "broker/mount.h"
#include "broker/process_groups.h"
#include "broker/session.h"
#include "broker/virtual/inode.h"
#include "shm/request_rules.h"

namespace airstore::broker {
namespace {

using shm::Call;
using shm::Op;
using shm::RequestReply;

bool Mutates(const shm::RequestArgs& args) {
  switch (static_cast<Op>(args.op)) {
    case Op::kSetattr:
    case Op::kMknod:
    case Op::kMkdir:
    case Op::kUnlink:
    case Op::kRmdir:
    case Op::kSymlink:
    case Op::kRename:
    case Op::kLink:
    case Op::kCreate:
    case Op::kTmpfile:
    case Op::kSetxattr:
    case Op::kRemovexattr:
    case Op::kFallocate:
    case Op::kCopyRange:
      return true;
    case Op::kOpen:
      return (args.flags & O_ACCMODE) != O_RDONLY || (args.flags & O_TRUNC) != 0;
    default:
      return false;
  }
}

// One call being answered; the steps are methods so that they can co_await.
class Answer {
 public:
  Answer(Session* session, Mount* mount, const Call& call, std::string* text)
      : text_(text),
        session_(session),
        mount_(mount),
        call_(call),
        args_(call.args),
        origin_{mount, call.position, call.slot} {}

  Task<RequestReply> Run() {
    if (Mutates(args_) && (session_->read_only() || mount_->spec().read_only)) {
      co_return Failed(EROFS);
    }
    if (VirtualTree* const nodes = session_->virtual_tree()) {
      const int refused = nodes->Refusal(args_, call_.name, call_.name2);
      if (refused != 0) co_return Failed(refused);
    }
    const auto before = mount_->ExecutedBefore(call_);
    if (!before && NeedsRoom()) {
      auto room = co_await session_->budget().Admit(session_->patience());
      if (!room) co_return Failed(ENOSPC);
    }
    // Under the lease nothing waits for it.
    if (!before && !session_->tree().lease()) {
      auto there = co_await AwaitGateway();
      if (!there) co_return Failed(there.error().code);
    }
    Result<void> done;
    if (before) {
      done = co_await Finish(*before);
    } else {
      done = co_await Dispatch();
    }
    session_->NoteJournal();
    if (!done) co_return Failed(done.error().code);
    co_return reply_;
  }

 private:
  static RequestReply Failed(int error) {
    RequestReply reply{};
    reply.error = error;
    return reply;
  }

  // What takes room in the spool waits for it; what gives some back does not.
  bool NeedsRoom() const {
    switch (static_cast<Op>(args_.op)) {
      case Op::kMknod:
      case Op::kMkdir:
      case Op::kSymlink:
      case Op::kLink:
      case Op::kRename:
      case Op::kCreate:
      case Op::kTmpfile:
      case Op::kSetxattr:
      case Op::kCopyRange:
        return true;
      case Op::kFallocate:
        return (args_.flags & FALLOC_FL_PUNCH_HOLE) == 0;
      default:
        return false;
    }
  }

  // What waits for the gateway's answer is not begun while there is none to be had: it would be
  // done later, although its caller was told that it has failed.
  Task<Result<void>> AwaitGateway() {
    // A client that asks again is told what became of what it has asked for.
    if (mount_->spec().backend == "nfs") co_return Result<void>{};
    switch (static_cast<Op>(args_.op)) {
      case Op::kOpen:
        if ((args_.flags & O_TRUNC) == 0) co_return Result<void>{};
        co_return co_await AwaitGatewayFor(args_.inode);
      case Op::kSetattr:
        // Times are set by the kernel, too, which does not try again.
        if ((args_.valid & (shm::kSetMode | shm::kSetUid | shm::kSetGid | shm::kSetSize)) == 0) {
          co_return Result<void>{};
        }
        co_return co_await AwaitGatewayFor(args_.inode);
      case Op::kRemovexattr:
        // Mostly there are none, and no write waits for that.
        if ((args_.valid & shm::kKillSetId) != 0) co_return Result<void>{};
        co_return co_await AwaitGatewayFor(args_.inode);
      case Op::kSetxattr:
        co_return co_await AwaitGatewayFor(args_.inode);
      default:
        break;
    }
    if (!ChangesNames(call_)) co_return Result<void>{};
    Tree& tree = session_->tree();
    const std::vector<uint64_t> directories = LockedDirectories(call_);
    for (const uint64_t directory : directories) {
      AIRSTORE_TRY_CO(co_await tree.AwaitGateway(tree.ZoneOfNames(directory)));
    }
    co_return Result<void>{};
  }

  Task<Result<void>> AwaitGatewayFor(uint64_t inode) {
    const auto record = session_->inodes().Get(inode);
    // It does not know of what has no name any more.
    if (record && (record->flags & shm::kOrphan) != 0) co_return Result<void>{};
    co_return co_await session_->tree().AwaitGateway(session_->tree().ZoneOfInode(inode));
  }

  Task<Result<void>> Dispatch() {
    switch (static_cast<Op>(args_.op)) {
      case Op::kLookup: {
        auto inode = co_await session_->tree().Lookup(args_.inode, call_.name);
        if (!inode) co_return inode.error();
        AIRSTORE_TRY_CO(co_await FindOutSize(*inode));
        co_return Fill(*inode);
      }
      case Op::kGetattr:
        AIRSTORE_TRY_CO(co_await session_->tree().Ensure(args_.inode));
        AIRSTORE_TRY_CO(co_await FindOutSize(args_.inode));
        co_await TakeReads(args_.inode);
        co_return Fill(args_.inode);
      case Op::kSetattr:
        co_return co_await Setattr();
      case Op::kReadlink:
        AIRSTORE_TRY_CO(co_await session_->tree().LoadTarget(args_.inode));
        co_return Fill(args_.inode);
      case Op::kMknod:
        co_return co_await Make(args_.mode, std::string());
      case Op::kMkdir:
        co_return co_await Make(S_IFDIR | (args_.mode & 07777), std::string());
      case Op::kSymlink:
        co_return co_await Make(S_IFLNK | 0777, call_.name2);
      case Op::kUnlink:
        co_return co_await session_->tree().Remove(origin_, args_.inode, call_.name, false);
      case Op::kRmdir:
        co_return co_await session_->tree().Remove(origin_, args_.inode, call_.name, true);
      case Op::kRename:
        co_return co_await session_->tree().Rename(origin_, args_.inode, call_.name, args_.inode2,
                                                   call_.name2, args_.flags, OfCaller(S_IFCHR));
      case Op::kLink:
        AIRSTORE_TRY_CO(
            co_await session_->tree().Link(origin_, args_.inode, args_.inode2, call_.name));
        co_return Fill(args_.inode);
      case Op::kOpen:
        co_return co_await Open(args_.inode, args_.flags);
      case Op::kCreate:
        co_return co_await Create();
      case Op::kFsync:
        co_return co_await Fsync();
      case Op::kFlush:
        // Without a lease another host may open the file as soon as the close has returned.
        if (!session_->tree().AcknowledgesHere(args_.inode) || session_->too_much_unsent()) {
          session_->tree().WaitedForGateway(args_.inode);
          co_return co_await Fsync();
        }
        co_return TakeWriteError();
      case Op::kReadRange:
        if (args_.flags == shm::kBeforeWrite) {
          co_await session_->tree().AnnounceData(mount_, args_.inode, args_.offset, args_.size);
          co_return Result<void>{};
        }
        session_->contents().Refresh(args_.inode);
        AIRSTORE_TRY_CO(co_await session_->tree().Ensure(args_.inode));
        AIRSTORE_TRY_CO(
            co_await session_->contents().EnsureRange(args_.inode, args_.offset, args_.size));
        co_return Fill(args_.inode);
      case Op::kContentFd:
        co_return SendContentFd();
      case Op::kLoadListing:
        co_return co_await LoadListing();
      case Op::kAppend: {
        const AppendCall call{mount_->index(), call_.slot, call_.position};
        auto offset = co_await session_->contents().Append(call, args_.inode, args_.size);
        if (!offset) co_return offset.error();
        reply_.value = *offset;
        // The page is locked until the request is answered; that is waited for beside.
        if (args_.flags == shm::kKeepsPages && *offset != args_.offset) {
          session_->tasks().Spawn(session_->tree().TellData(
              mount_->index(), args_.inode, args_.offset, args_.size, std::nullopt));
        }
        co_return Result<void>{};
      }
      case Op::kStatfs:
        co_return co_await Statfs();
      case Op::kGetxattr:
        co_return co_await GetXattr();
      case Op::kListxattr:
        co_return co_await ListXattrs();
      case Op::kSetxattr:
        AIRSTORE_TRY_CO(co_await session_->tree().SetXattr(origin_, args_.inode, call_.name,
                                                           call_.name2, args_.flags,
                                                           (args_.valid & shm::kKillSgid) != 0));
        co_return Fill(args_.inode);
      case Op::kRemovexattr:
        if ((args_.valid & shm::kKillSetId) != 0) {
          AIRSTORE_TRY_CO(co_await session_->tree().KillCapabilities(origin_, args_.inode));
        } else {
          AIRSTORE_TRY_CO(co_await session_->tree().RemoveXattr(origin_, args_.inode, call_.name));
        }
        co_return Fill(args_.inode);
      case Op::kFallocate:
        co_return co_await Fallocate();
      case Op::kSeek:
        co_return co_await Seek();
      case Op::kCopyRange:
        co_return co_await CopyRange();
      case Op::kTmpfile:
        co_return co_await Tmpfile();
      case Op::kSetLock:
        co_return SetLock();
      case Op::kGetLock:
        co_return co_await GetLock();
      case Op::kFlushLocks:
        co_await session_->locks().Flush(Lock());
        co_return Result<void>{};
      case Op::kReleaseLocks:
        co_await session_->locks().Release(Lock());
        co_return Result<void>{};
      case Op::kNone:
        break;
    }
    co_return Error{ENOSYS, "unknown operation"};
  }

  // An earlier broker has made the change and died before it answered.
  Task<Result<void>> Finish(shm::Executed executed) {
    const auto op = static_cast<Op>(args_.op);
    std::vector<WatchEvent::Name> takes, gives;
    if (op == Op::kUnlink || op == Op::kRmdir || op == Op::kRename) {
      takes.push_back({args_.inode, call_.name});
    } else if (op != Op::kSetxattr && op != Op::kRemovexattr) {
      gives.push_back({op == Op::kLink ? args_.inode2 : args_.inode, call_.name});
    }
    if (op == Op::kRename) gives.push_back({args_.inode2, call_.name2});
    AIRSTORE_TRY_CO(co_await session_->tree().FinishChange(origin_, executed, std::move(takes),
                                                           std::move(gives)));
    switch (op) {
      case Op::kCreate:
        co_return co_await Open(executed.inode, args_.flags & ~static_cast<uint32_t>(O_TRUNC));
      case Op::kMknod:
      case Op::kMkdir:
      case Op::kSymlink:
      case Op::kLink:
        co_return Fill(executed.inode);
      default:
        co_return Result<void>{};
    }
  }

  // The kernel of this mount is about to learn of the inode; what it writes itself (passthrough)
  // must not come back to it with an older size.
  Result<void> Fill(uint64_t inode) {
    session_->contents().Refresh(inode);
    session_->inodes().MarkKnown(inode, mount_->index());
    const uint32_t index = session_->inodes().IndexOf(inode);
    if (index == shm::kNoIndex) return Error{ESTALE, "inode"};
    reply_.inode_index = index;
    reply_.attr = session_->inodes().meta().Inode(index);
    return {};
  }

  // One that was perhaps refused is made once more.
  std::optional<Ticket> CutBefore() const {
    const auto cut = mount_->CutBefore(call_);
    if (!cut || session_->tree().AnsweredBefore(*cut)) return std::nullopt;
    return cut->ticket;
  }

  Task<Result<void>> Setattr() {
    AttrChange change{.valid = args_.valid,
                      .mode = args_.mode,
                      .uid = args_.set_uid,
                      .gid = args_.set_gid,
                      .size = args_.size,
                      .atime_ns = args_.atime_ns,
                      .mtime_ns = args_.mtime_ns};
    session_->contents().Refresh(args_.inode);
    if ((args_.valid & shm::kSetSize) != 0) {
      const auto record = session_->inodes().Get(args_.inode);
      if (record && IsRunElsewhere(*record)) co_return Error{ETXTBSY, "truncate"};
    }
    if (args_.valid == shm::kKillSetId) {
      AIRSTORE_TRY_CO(co_await MayKillSetId());
    }
    change.of_group = IsOfGroup(args_.inode);
    change.cut_by = CutBefore();
    AIRSTORE_TRY_CO(co_await session_->tree().Setattr(origin_, args_.inode, change));
    co_return Fill(args_.inode);
  }

  Task<void> TakeReads(uint64_t inode) {
    if (!mount_->spec().relatime) co_return;
    const int64_t read_ns = session_->tree().UnseenRead(*mount_, inode);
    if (read_ns != 0) co_await session_->tree().Touch(origin_.mount, inode, read_ns);
  }

  // The kernel asks in the same words for who writes and for who changes an owner to what it is.
  // The latter is the owner's to do, and only here can be told who that is.
  Task<Result<void>> MayKillSetId() {
    AIRSTORE_TRY_CO(co_await session_->tree().Ensure(args_.inode));
    const auto record = session_->inodes().Get(args_.inode);
    if (!record || S_ISDIR(record->mode) || (record->mode & (S_ISUID | S_ISGID)) == 0) {
      co_return Result<void>{};
    }
    if (args_.uid == 0 || args_.uid == record->uid) co_return Result<void>{};
    if (session_->contents().HasWriter(args_.inode, mount_->index())) co_return Result<void>{};
    co_return Error{EPERM, "set-id bits"};
  }

  // What Linux asks (since 6.2) before it leaves the set-group-id bit of a file that its group may
  // not execute. Looks for more than the caller's own group only where it matters.
  bool IsOfGroup(uint64_t inode) const {
    const auto record = session_->inodes().Get(inode);
    if (!record || (record->mode & (S_ISGID | S_IXGRP)) != S_ISGID) return true;
    if (args_.uid == 0 || args_.gid == record->gid) return true;
    return mount_->spec().squash == SquashWho::kNobody && IsInGroup(args_.pid, record->gid);
  }

  NewNode OfCaller(uint32_t mode) const {
    NewNode node;
    node.mode = mode;
    node.umask = args_.umask;
    node.uid = args_.uid;
    node.gid = args_.gid;
    return node;
  }

  Task<Result<void>> Make(uint32_t mode, std::string target) {
    if (IsVirtual(args_.inode)) co_return co_await MakeVirtual(S_ISDIR(mode));
    NewNode node = OfCaller(mode);
    node.rdev = args_.rdev;
    node.symlink_target = std::move(target);
    auto made = co_await session_->tree().Create(origin_, args_.inode, call_.name, std::move(node));
    if (!made) co_return made.error();
    co_return Fill(*made);
  }

  // What is made there is made by the gateway, and looked up.
  Task<Result<void>> MakeVirtual(bool directory) {
    VirtualTree* const nodes = session_->virtual_tree();
    if (nodes == nullptr) co_return Error{EROFS, "virtual"};
    AIRSTORE_TRY_CO(co_await nodes->overlay().Make(args_.inode, call_.name, directory));
    // It was known not to exist.
    shm::MetaWriter& meta = session_->inodes().meta();
    session_->inodes().freshness().Changed(args_.inode);
    session_->inodes().Update(args_.inode, [](shm::InodeRecord& record) {
      record.flags &= ~static_cast<uint32_t>(shm::kListingComplete);
    });
    const uint32_t known = meta.FindDentry(args_.inode, call_.name);
    if (known != shm::kNoIndex) meta.RemoveDentry(known);
    auto made = co_await session_->tree().Lookup(args_.inode, call_.name);
    if (!made) co_return made.error();
    co_return Fill(*made);
  }

  // For clients that open nothing.
  Task<Result<void>> FindOutSize(uint64_t inode) {
    VirtualTree* const nodes = session_->virtual_tree();
    const auto record = session_->inodes().Get(inode);
    if (nodes == nullptr || mount_->spec().backend != "nfs" || !record ||
        (record->flags & shm::kSizeUnknown) == 0) {
      co_return Result<void>{};
    }
    auto settled = co_await nodes->overlay().Settle(inode);
    if (!settled) co_return settled.error();
    session_->inodes().MarkStale(inode);
    co_return co_await session_->tree().Ensure(inode);
  }

  // `passthrough`: false when it is open for writing, which is refused in the end.
  Task<Result<void>> OpenVirtual(uint64_t inode, bool passthrough) {
    VirtualTree* const nodes = session_->virtual_tree();
    if (nodes == nullptr) co_return Error{ESTALE, "virtual"};
    auto settled = co_await nodes->overlay().Settle(inode);
    if (!settled) co_return settled.error();
    if (*settled) {
      session_->inodes().MarkStale(inode);
      AIRSTORE_TRY_CO(co_await session_->tree().Ensure(inode));
    }
    auto opened = co_await session_->contents().Open(mount_, inode, O_RDONLY, passthrough);
    if (!opened) co_return opened.error();
    // The kernel goes by the size that it was told before.
    if ((*settled || !passthrough) && opened->mode == shm::kOpenCached) {
      opened->mode = shm::kOpenDirect;
    }
    co_return Opened(inode, *opened);
  }

  // The kernel of this mount looks at the programs that it runs itself.
  bool IsRunElsewhere(const shm::InodeRecord& record) const {
    if ((record.mode & 0111) == 0) return false;
    for (const MountPort* mount : session_->mounts().all()) {
      if (mount == mount_ || (record.known_by >> mount->index() & 1) == 0) continue;
      if (mount->IsRun(record.inode)) return true;
    }
    return false;
  }

  Task<Result<void>> Open(uint64_t inode, uint32_t flags) {
    const Tree::Busy busy(&session_->tree(), inode);
    AIRSTORE_TRY_CO(co_await session_->tree().Ensure(inode));
    if (IsVirtual(inode)) co_return co_await OpenVirtual(inode, true);
    const auto record = session_->inodes().Get(inode);
    if (record && IsDirectory(record->mode)) co_return Error{EISDIR, "open"};
    // Something else has taken the name meanwhile: the kernel looks again.
    if (!record || !IsRegular(record->mode)) co_return Error{ESTALE, "open"};
    const bool changes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0;
    if (changes && IsRunElsewhere(*record)) co_return Error{ETXTBSY, "open"};
    if ((flags & O_ACCMODE) != O_RDONLY && (flags & O_TRUNC) == 0) {
      AIRSTORE_TRY_CO(co_await session_->AdmitBytes(1));
    }
    if ((flags & O_TRUNC) != 0) {
      // A kernel that opens a file to read and cut it asks us before it looks for that.
      if ((flags & O_ACCMODE) == O_RDONLY && mount_->IsRun(inode)) {
        co_return Error{ETXTBSY, "open"};
      }
      session_->contents().Refresh(inode);
      AttrChange empty;
      empty.valid = shm::kSetSize | (args_.valid & shm::kKillSetId);
      empty.of_group = IsOfGroup(inode);
      empty.cut_by = CutBefore();
      AIRSTORE_TRY_CO(co_await session_->tree().Setattr(origin_, inode, empty));
    }
    co_await TakeReads(inode);
    auto opened = co_await session_->contents().Open(mount_, inode, flags);
    if (!opened) co_return opened.error();
    if (mount_->spec().relatime && opened->backing_id != 0) session_->tree().ExpectRead(inode);
    co_return Opened(inode, *opened);
  }

  Result<void> Opened(uint64_t inode, const OpenResult& opened) {
    reply_.open_mode = opened.mode;
    reply_.backing_id = opened.backing_id;
    // From here on siblings ask for this file's attributes each time; this makes them start.
    if (opened.first_writer) session_->tree().NotifyAttr(mount_, inode);
    return Fill(inode);
  }

  // As its owner's, whatever else there is to be checked.
  bool IsOpenToCaller(uint64_t inode) const {
    const auto record = session_->inodes().Get(inode);
    if (!record || mount_->spec().uid || args_.uid != record->uid) return false;
    const uint32_t access = args_.flags & O_ACCMODE;
    uint32_t wanted = access == O_WRONLY ? S_IWUSR : S_IRUSR;
    if (access == O_RDWR || (args_.flags & O_TRUNC) != 0) wanted |= S_IWUSR;
    return (record->mode & wanted) == wanted;
  }

  Task<Result<void>> Create() {
    if (IsVirtual(args_.inode)) {
      AIRSTORE_TRY_CO(co_await MakeVirtual(false));
      const uint64_t made = reply_.attr.inode;
      co_return co_await OpenVirtual(made, false);
    }
    AIRSTORE_TRY_CO(co_await session_->AdmitBytes(1));
    auto made = co_await session_->tree().Create(origin_, args_.inode, call_.name,
                                                 OfCaller(S_IFREG | (args_.mode & 07777)));
    if (!made) {
      if (made.error().code != EEXIST || (args_.flags & O_EXCL) != 0) co_return made.error();
      auto existing = co_await session_->tree().Lookup(args_.inode, call_.name);
      if (!existing) co_return existing.error();
      // This kernel takes what it gets for made by the caller, and asks nobody's permission. With
      // ESTALE it looks once more, and at who may open it.
      if (!IsOpenToCaller(*existing)) co_return Error{ESTALE, "made by somebody else"};
      co_return co_await Open(*existing, args_.flags);
    }
    const auto record = session_->inodes().Get(*made);
    if (!record) co_return Error{ESTALE, "create"};
    // The name shows since before: somebody else may have opened and written the file meanwhile.
    if (record->content_generation != 0 || session_->contents().HasOpens(*made)) {
      co_return co_await Open(*made, args_.flags & ~static_cast<uint32_t>(O_TRUNC));
    }
    if (auto attached = session_->contents().AttachNew(*made); !attached) {
      (void)co_await session_->tree().Remove(origin_, args_.inode, call_.name, false);
      co_return attached.error();
    }
    auto opened = session_->contents().OpenCreated(mount_, *made, args_.flags);
    if (!opened) co_return opened.error();
    co_return Opened(*made, *opened);
  }

  Task<Result<void>> Tmpfile() {
    AIRSTORE_TRY_CO(co_await session_->AdmitBytes(1));
    auto made = co_await session_->tree().CreateNameless(args_.inode,
                                                         OfCaller(S_IFREG | (args_.mode & 07777)));
    if (!made) co_return made.error();
    auto attached = session_->contents().AttachNew(*made);
    if (!attached) {
      session_->tree().ReclaimOrphan(*made);
      co_return attached.error();
    }
    auto opened = session_->contents().OpenCreated(mount_, *made, args_.flags);
    if (!opened) {
      session_->tree().ReclaimOrphan(*made);
      co_return opened.error();
    }
    co_return Opened(*made, *opened);
  }

  Task<Result<void>> GetXattr() {
    auto value = co_await session_->tree().GetXattr(args_.inode, call_.name);
    if (!value) co_return value.error();
    *text_ = std::move(*value);
    co_return Result<void>{};
  }

  Task<Result<void>> ListXattrs() {
    auto all = co_await session_->tree().ListXattrs(args_.inode);
    if (!all) co_return all.error();
    for (const auto& [name, value] : *all) {
      // As listxattr(2) has it of lists that are too long.
      if (text_->size() + name.size() + 1 > shm::kMaxXattrValue) co_return Error{E2BIG, "names"};
      text_->append(name.c_str(), name.size() + 1);
    }
    co_return Result<void>{};
  }

  Task<Result<void>> Fallocate() {
    const auto record = session_->inodes().Get(args_.inode);
    const uint64_t end = args_.offset + args_.size;
    if (record && end > record->size) {
      AIRSTORE_TRY_CO(co_await session_->AdmitBytes(end - record->size));
    }
    const bool done = mount_->CutBefore(call_).has_value();
    AIRSTORE_TRY_CO(co_await session_->tree().Fallocate(
        origin_, args_.inode, args_.offset, args_.size, static_cast<int>(args_.flags), done));
    co_return Fill(args_.inode);
  }

  Task<Result<void>> CopyRange() {
    const uint64_t length = std::min(args_.size, kMostCopied);
    const auto target = session_->inodes().Get(args_.inode2);
    if (target && args_.rdev < UINT64_MAX - length && args_.rdev + length > target->size) {
      AIRSTORE_TRY_CO(co_await session_->AdmitBytes(args_.rdev + length - target->size));
    }
    auto copied = co_await session_->tree().CopyRange(origin_, {.source = args_.inode,
                                                                .source_offset = args_.offset,
                                                                .target = args_.inode2,
                                                                .target_offset = args_.rdev,
                                                                .length = length});
    if (!copied) co_return copied.error();
    reply_.value = *copied;
    co_return Result<void>{};
  }

  Task<Result<void>> Seek() {
    AIRSTORE_TRY_CO(co_await session_->tree().Ensure(args_.inode));
    session_->contents().Refresh(args_.inode);
    auto found = co_await session_->contents().Seek(args_.inode, args_.offset,
                                                    static_cast<int>(args_.flags));
    if (!found) co_return found.error();
    reply_.value = *found;
    co_return Result<void>{};
  }

  Task<Result<void>> Fsync() {
    session_->contents().Refresh(args_.inode);
    co_await session_->contents().Retry(args_.inode);
    AIRSTORE_TRY_CO(co_await session_->contents().AwaitReplaced(args_.inode));
    if (mount_->spec().fsync_local && session_->tree().AcknowledgesHere(args_.inode) &&
        !session_->journal_failed()) {
      co_return co_await FsyncHere();
    }
    // More than once when a truncation moved the content behind itself in the log.
    int rounds = 0;
    for (Ticket ticket = session_->contents().Flush(args_.inode); ticket != 0;
         ticket = session_->log().PendingOf(args_.inode)) {
      const int refused = co_await session_->log().WaitSettled(ticket, args_.inode);
      if (refused != 0) {
        (void)TakeWriteError();  // it is told now
        co_return Error{refused, "fsync"};
      }
      if (++rounds == 3) break;
    }
    co_return TakeWriteError();
  }

  // Onto this host's disk; the gateway follows, as after a close.
  Task<Result<void>> FsyncHere() {
    (void)session_->contents().Flush(args_.inode);
    AIRSTORE_TRY_CO(co_await session_->contents().Sync(args_.inode, args_.flags != 0));
    AIRSTORE_TRY_CO(co_await session_->SyncJournal());
    co_return TakeWriteError();
  }

  // Once to one caller, as POSIX has it for write-back errors.
  Result<void> TakeWriteError() {
    uint32_t error = 0;
    const auto record = session_->inodes().Get(args_.inode);
    if (record && record->write_error != 0) {
      session_->inodes().Update(args_.inode, [&](shm::InodeRecord& changed) {
        error = changed.write_error;
        changed.write_error = 0;
      });
    }
    if (error != 0) return Error{static_cast<int>(error), "write-back"};
    return {};
  }

  Result<void> SendContentFd() {
    uint64_t id = 0;
    const int fd = session_->contents().ContentFd(args_.inode, &id);
    if (fd < 0) return Error{ESTALE, "content file"};
    AIRSTORE_TRY(mount_->SendContent(id, fd));
    reply_.value = id;
    return {};
  }

  Task<Result<void>> LoadListing() {
    AIRSTORE_TRY_CO(co_await session_->tree().LoadListing(args_.inode));
    AIRSTORE_TRY_CO(co_await session_->tree().RefreshChildren(args_.inode));
    shm::MetaWriter& meta = session_->inodes().meta();
    const auto directory = session_->inodes().Get(args_.inode);
    if (!directory) co_return Error{ESTALE, "directory"};
    for (uint32_t at = directory->dir_first; at != shm::kNoIndex;) {
      const shm::DentryRecord entry = meta.Dentry(at);
      // Of what is stale once more the frontend asks.
      if (!session_->inodes().IsStale(entry.inode)) {
        session_->inodes().MarkKnown(entry.inode, mount_->index());
      }
      at = entry.dir_next;
    }
    co_return Fill(args_.inode);
  }

  Task<Result<void>> Statfs() {
    auto answer = co_await session_->Statfs();
    if (!answer) co_return answer.error();
    reply_.statfs[0] = answer->total_bytes;
    reply_.statfs[1] = answer->free_bytes;
    reply_.statfs[2] = answer->total_inodes;
    reply_.statfs[3] = answer->free_inodes;
    reply_.statfs[4] = 4096;
    co_return Result<void>{};
  }

  LockCall Lock() const {
    LockCall lock;
    lock.inode = args_.inode;
    lock.flock = (args_.flags & shm::kLockFlock) != 0;
    lock.range.owner = {mount_->index(), args_.inode2};
    if ((args_.flags & shm::kLockShared) != 0) lock.range.type = LockType::kShared;
    if ((args_.flags & shm::kLockExclusive) != 0) lock.range.type = LockType::kExclusive;
    lock.range.first = args_.offset;
    lock.range.last = args_.size;
    lock.range.pid = args_.mode;
    lock.handle = args_.rdev;
    return lock;
  }

  Result<void> SetLock() {
    const Locks::Asker asker{args_.unique, args_.pid, (args_.flags & shm::kLockWait) != 0};
    const int error = session_->locks().Set(Lock(), asker);
    if (error == Locks::kDeferred) {
      reply_.value = shm::kDeferred;
      return {};
    }
    if (error != 0) return Error{error, "lock"};
    return {};
  }

  Task<Result<void>> GetLock() {
    auto held = co_await session_->locks().Test(Lock());
    if (!held) co_return held.error();
    if (*held) {
      reply_.lock[0] =
          (*held)->type == LockType::kExclusive ? shm::kLockExclusive : shm::kLockShared;
      reply_.lock[1] = (*held)->first;
      reply_.lock[2] = (*held)->last;
      reply_.lock[3] = (*held)->pid;
    }
    co_return Result<void>{};
  }

  std::string* text_;
  Session* session_;
  Mount* mount_;
  const Call& call_;
  const shm::RequestArgs& args_;
  Origin origin_;
  RequestReply reply_{};
};

}  // namespace

Task<RequestReply> AnswerCall(Session* session, Mount* mount, const Call& call, std::string* text) {
  Answer answer(session, mount, call, text);
  co_return co_await answer.Run();
}

bool ChangesNames(const Call& call) {
  switch (static_cast<Op>(call.args.op)) {
    case Op::kMknod:
    case Op::kMkdir:
    case Op::kSymlink:
    case Op::kCreate:
    case Op::kUnlink:
    case Op::kRmdir:
    case Op::kRename:
    case Op::kLink:
    case Op::kSetxattr:
    case Op::kRemovexattr:
      return true;
    default:
      return false;
  }
}

uint32_t ModeOfOpen(const Call& call, const RequestReply& reply) {
  const bool for_write = (call.args.flags & O_ACCMODE) != O_RDONLY;
  return reply.open_mode | (for_write ? shm::kOpenForWrite : 0u);
}

void UndoOpen(Session* session, Mount* mount, const Call& call, const RequestReply& reply) {
  const auto op = static_cast<Op>(call.args.op);
  if (op == Op::kAppend) {
    session->contents().ForgetAppend({mount->index(), call.slot, call.position}, call.args.inode);
  }
  if (op != Op::kOpen && op != Op::kCreate && op != Op::kTmpfile) return;
  session->contents().Release(reply.attr.inode, mount->index(), ModeOfOpen(call, reply));
}

std::vector<uint64_t> LockedDirectories(const Call& call) {
  const shm::RequestArgs& args = call.args;
  switch (static_cast<Op>(args.op)) {
    case Op::kMknod:
    case Op::kMkdir:
    case Op::kSymlink:
    case Op::kCreate:
    case Op::kUnlink:
    case Op::kRmdir:
    // If it is a directory:
    case Op::kSetattr:
    case Op::kSetxattr:
    case Op::kRemovexattr:
    case Op::kFsync:
      return {args.inode};
    case Op::kRename:
      return {args.inode, args.inode2};
    case Op::kLink:
      return {args.inode2};
    default:
      return {};
  }
}

}  // namespace airstore::broker
