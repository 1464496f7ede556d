// SPDX-License-Identifier: Apache-2.0
#include "broker/calls.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include "broker/mount.h"
#include "broker/session.h"

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
  Answer(Session* session, Mount* mount, const Call& call)
      : session_(session),
        mount_(mount),
        call_(call),
        args_(call.args),
        origin_{mount, call.position, call.slot} {}

  Task<RequestReply> Run() {
    if (Mutates(args_) && (session_->read_only() || mount_->spec().read_only)) {
      co_return Failed(EROFS);
    }
    const auto before = mount_->ExecutedBefore(call_);
    Result<void> done;
    if (before) {
      done = co_await Finish(*before);
    } else {
      done = co_await Dispatch();
    }
    if (!done) co_return Failed(done.error().code);
    co_return reply_;
  }

 private:
  static RequestReply Failed(int error) {
    RequestReply reply{};
    reply.error = error;
    return reply;
  }

  Task<Result<void>> Dispatch() {
    switch (static_cast<Op>(args_.op)) {
      case Op::kLookup: {
        auto inode = co_await session_->tree().Lookup(args_.inode, call_.name);
        if (!inode) co_return inode.error();
        co_return Fill(*inode);
      }
      case Op::kGetattr:
        AIRSTORE_TRY_CO(co_await session_->tree().Ensure(args_.inode));
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
                                                   call_.name2, args_.flags);
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
        if (!session_->tree().lease()) co_return co_await Fsync();
        co_return TakeWriteError();
      case Op::kReadRange:
        session_->contents().Refresh(args_.inode);
        AIRSTORE_TRY_CO(co_await session_->tree().Ensure(args_.inode));
        AIRSTORE_TRY_CO(
            co_await session_->contents().EnsureRange(args_.inode, args_.offset, args_.size));
        co_return Fill(args_.inode);
      case Op::kContentFd:
        co_return SendContentFd();
      case Op::kLoadListing:
        co_return co_await LoadListing();
      case Op::kStatfs:
        co_return co_await Statfs();
      case Op::kNone:
        break;
    }
    co_return Error{ENOSYS, "unknown operation"};
  }

  // An earlier broker has made the change and died before it answered.
  Task<Result<void>> Finish(shm::Executed executed) {
    const auto op = static_cast<Op>(args_.op);
    std::vector<WatchEvent::Name> names;
    names.push_back({op == Op::kLink ? args_.inode2 : args_.inode, call_.name});
    if (op == Op::kRename) names.push_back({args_.inode2, call_.name2});
    AIRSTORE_TRY_CO(co_await session_->tree().FinishChange(origin_, executed, std::move(names)));
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

  Task<Result<void>> Setattr() {
    AttrChange change{.valid = args_.valid,
                      .mode = args_.mode,
                      .uid = args_.set_uid,
                      .gid = args_.set_gid,
                      .size = args_.size,
                      .atime_ns = args_.atime_ns,
                      .mtime_ns = args_.mtime_ns};
    session_->contents().Refresh(args_.inode);
    AIRSTORE_TRY_CO(co_await session_->tree().Setattr(origin_, args_.inode, change));
    co_return Fill(args_.inode);
  }

  Task<Result<void>> Make(uint32_t mode, std::string target) {
    NewNode node;
    node.mode = mode;
    node.uid = args_.uid;
    node.gid = args_.gid;
    node.rdev = args_.rdev;
    node.symlink_target = std::move(target);
    auto made = co_await session_->tree().Create(origin_, args_.inode, call_.name, std::move(node));
    if (!made) co_return made.error();
    co_return Fill(*made);
  }

  Task<Result<void>> Open(uint64_t inode, uint32_t flags) {
    AIRSTORE_TRY_CO(co_await session_->tree().Ensure(inode));
    const auto record = session_->inodes().Get(inode);
    if (record && IsDirectory(record->mode)) co_return Error{EISDIR, "open"};
    // Something else has taken the name meanwhile: the kernel looks again.
    if (!record || !IsRegular(record->mode)) co_return Error{ESTALE, "open"};
    if ((flags & O_TRUNC) != 0) {
      session_->contents().Refresh(inode);
      AttrChange empty;
      empty.valid = shm::kSetSize;
      AIRSTORE_TRY_CO(co_await session_->tree().Setattr(origin_, inode, empty));
    }
    auto opened = co_await session_->contents().Open(mount_, inode, flags);
    if (!opened) co_return opened.error();
    co_return Opened(inode, *opened);
  }

  Result<void> Opened(uint64_t inode, const OpenResult& opened) {
    reply_.open_mode = opened.mode;
    reply_.backing_id = opened.backing_id;
    // From here on siblings ask for this file's attributes each time; this makes them start.
    if ((args_.flags & O_ACCMODE) != O_RDONLY) session_->tree().NotifyAttr(mount_, inode);
    return Fill(inode);
  }

  Task<Result<void>> Create() {
    NewNode node;
    node.mode = S_IFREG | (args_.mode & 07777);
    node.uid = args_.uid;
    node.gid = args_.gid;
    auto made = co_await session_->tree().Create(origin_, args_.inode, call_.name, std::move(node));
    if (!made) {
      if (made.error().code != EEXIST || (args_.flags & O_EXCL) != 0) co_return made.error();
      auto existing = co_await session_->tree().Lookup(args_.inode, call_.name);
      if (!existing) co_return existing.error();
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

  Task<Result<void>> Fsync() {
    session_->contents().Refresh(args_.inode);
    // More than once when a truncation moved the content behind itself in the log.
    int rounds = 0;
    for (Ticket ticket = session_->contents().Flush(args_.inode); ticket != 0;
         ticket = session_->log().PendingOf(args_.inode)) {
      const int refused = co_await session_->log().WaitSettled(ticket, args_.inode);
      if (refused != 0) co_return Error{refused, "fsync"};
      if (++rounds == 3) break;
    }
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

  Session* session_;
  Mount* mount_;
  const Call& call_;
  const shm::RequestArgs& args_;
  Origin origin_;
  RequestReply reply_{};
};

}  // namespace

Task<RequestReply> AnswerCall(Session* session, Mount* mount, const Call& call) {
  Answer answer(session, mount, call);
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
  if (op != Op::kOpen && op != Op::kCreate) return;
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
    case Op::kLookup:
    case Op::kLoadListing:
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
