// SPDX-License-Identifier: Apache-2.0
#include "broker/v1/applier.h"

#include <spdlog/spdlog.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "broker/clock.h"
#include "broker/v1/refusal.h"

namespace airstore::broker::v1 {
namespace {

// What lies behind a gateway may fail for a moment: so often a change is tried before that counts
// as its answer.
constexpr int kTries = 4;
constexpr std::chrono::milliseconds kPause{250};
constexpr size_t kLongestPath = 1024;  // keys of the store behind the original

uint64_t ContentOf(const Mutation& mutation) {
  if (const auto* write = std::get_if<WriteOp>(&mutation.op)) return write->inode;
  const auto* setattr = std::get_if<SetattrOp>(&mutation.op);
  return setattr != nullptr && setattr->size ? setattr->inode : 0;
}

// Nothing was decided: it is to be sent again.
bool IsOfTheCall(const Error& error, const Site& site) {
  return error.code == EAGAIN || error.code == ENOSYS ||
         (error.code == EACCES && site.client->refused_token());
}

bool IsDir(const Info& info) { return (info.mode & S_IFMT) == S_IFDIR; }

std::string ScratchName() {
  uint64_t number = 0;
  (void)!getrandom(&number, sizeof number, 0);
  return kAsidePrefix + std::to_string(number);
}

}  // namespace

Task<Result<std::vector<MutationResult>>> Applier::Apply(
    std::shared_ptr<const std::vector<Mutation>> batch) {
  std::vector<MutationResult> results;
  AIRSTORE_TRY_CO(site_->state->Save());
  for (const Mutation& mutation : *batch) {
    Done done;
    if (const auto before = site_->state->DoneBefore(mutation.sequence)) {
      done = *before;
    } else {
      auto made = co_await One(&mutation);
      if (!made) co_return made.error();
      done = *made;
    }
    if (const auto* write = std::get_if<WriteOp>(&mutation.op)) {
      for (const WriteExtent& extent : write->extents) {
        if (const auto* place = std::get_if<BlockPlace>(&extent.source)) {
          site_->blocks.Drop(place->first);
        }
      }
    }
    results.push_back(
        {.sequence = mutation.sequence, .error = done.error, .content_version = done.version});
  }
  co_return results;
}

Task<Result<Applier::Done>> Applier::One(const Mutation* mutation) {
  SessionState& state = *site_->state;
  Done done;
  for (int tries = 1;; ++tries) {
    done = Done();
    site_->client->Enter(&state, mutation->sequence, ContentOf(*mutation));
    auto made = co_await Make(mutation, state.begun(mutation->sequence), &done);
    site_->client->Leave();
    if (made) break;
    if (site_->client->unrecorded()) co_return *site_->client->unrecorded();
    if (IsOfTheCall(made.error(), *site_)) co_return made.error();
    done.error = made.error().code;
    if (!MayPass(made.error()) && made.error().code != EPROTO) break;
    if (tries == kTries) {
      spdlog::warn("a change was refused: {}", made.error().ToString());
      done.error = EIO;
      break;
    }
    boost::asio::steady_timer timer(site_->executor, kPause * tries);
    co_await timer.async_wait(boost::asio::use_awaitable);
  }
  AIRSTORE_TRY_CO(state.Finish(mutation->sequence, done));
  co_return done;
}

Task<Result<void>> Applier::Make(const Mutation* mutation, bool again, Done* done) {
  const auto& op = mutation->op;
  if (const auto* create = std::get_if<CreateOp>(&op)) co_return co_await Create(create, again);
  if (const auto* unlink = std::get_if<UnlinkOp>(&op)) co_return co_await Unlink(unlink, again);
  if (const auto* rename = std::get_if<RenameOp>(&op)) {
    co_return co_await renamer_.Rename(rename, again);
  }
  if (const auto* setattr = std::get_if<SetattrOp>(&op)) {
    co_return co_await Setattr(mutation, setattr, again, done);
  }
  if (const auto* write = std::get_if<WriteOp>(&op)) {
    co_return co_await Write(mutation, write, again, done);
  }
  if (const auto* touch = std::get_if<TouchOp>(&op)) {
    // Times of directories are the gateway's. Of content that a broker had died over: what came of
    // it is what the next write is made of.
    if (!site_->state->torn(touch->inode)) co_return Result<void>{};
    const auto path = site_->state->paths().PathOf(touch->inode);
    if (!path) co_return Result<void>{};
    auto info = co_await site_->client->Stat(*path);
    if (info) done->version = site_->VersionOf(touch->inode, *info);
    if (!info && info.error().code != ENOENT) co_return info.error();
    co_return Result<void>{};
  }
  if (std::holds_alternative<LinkOp>(op)) co_return Error{EPERM, "v1 has no hard links"};
  co_return Error{EOPNOTSUPP, "v1 has no extended attributes"};
}

Task<Result<void>> Applier::Create(const CreateOp* op, bool again) {
  const uint32_t type = op->mode & S_IFMT;
  if (type != S_IFREG && type != S_IFDIR && type != S_IFLNK) {
    co_return Error{EPERM, "v1 has no special files"};
  }
  if (!IsUtf8(op->name) || !IsUtf8(op->symlink_target)) co_return Error{EILSEQ, op->name};
  const auto path = site_->PathOf(op->parent, op->name);
  if (!path) co_return Error{ENOENT, op->name};
  if (path->size() > kLongestPath) co_return Error{ENAMETOOLONG, op->name};
  ContextClient& client = *site_->client;
  bool there = false;
  // A gateway that is exact looks by itself, but for symbolic links.
  if (again || type == S_IFLNK || !site_->exact()) {
    auto info = co_await client.Stat(*path);
    if (!info && info.error().code != ENOENT) co_return info.error();
    there = info.has_value();
    // What is there of a creation that had begun may be what it made.
    if (there && (!again || (info->mode & S_IFMT) != type || info->size != 0) &&
        !(again && type == S_IFLNK)) {
      co_return Error{EEXIST, *path};
    }
  }
  Result<void> made;
  if (type == S_IFLNK) {
    made = co_await client.Symlink(op->symlink_target, *path);
  } else if (!there && type == S_IFREG) {
    made = co_await client.Create(*path, op->mode, !again);
  } else if (!there) {
    made = co_await client.Mkdir(*path, op->mode, !again);
  }
  if (!made) co_return made;
  site_->state->Bind(op->parent, op->name, op->inode);
  site_->seen.erase(op->inode);
  site_->aging.NoteNamesOf(op->parent);
  site_->aging.NoteInode(op->inode);
  co_return Result<void>{};
}

Task<Result<void>> Applier::Unlink(const UnlinkOp* op, bool again) {
  const auto path = site_->PathOf(op->parent, op->name);
  if (!path) co_return Error{ENOENT, op->name};
  ContextClient& client = *site_->client;
  auto info = co_await client.Stat(*path);
  if (!info && (info.error().code != ENOENT || !again)) co_return info.error();
  if (info) {
    if (op->directory && !IsDir(*info)) co_return Error{ENOTDIR, *path};
    if (!op->directory && IsDir(*info)) co_return Error{EISDIR, *path};
    if (op->directory) {
      auto empty = co_await resolver_->IsEmpty(*path);
      if (!empty) co_return empty.error();
      if (!*empty) co_return Error{ENOTEMPTY, *path};
    }
    AIRSTORE_TRY_CO(co_await renamer_.KeepDirectory(op->parent));
    AIRSTORE_TRY_CO(co_await client.Delete(*path));
    if (!site_->exact()) {
      // The original says so in any case.
      auto left = co_await client.Stat(*path);
      if (left) co_return Error{IsDir(*left) ? ENOTEMPTY : EIO, *path + " is still there"};
      if (left.error().code != ENOENT) co_return left.error();
    }
  }
  site_->seen.erase(op->inode);
  site_->state->Unbind(op->parent, op->name);
  site_->aging.NoteNamesOf(op->parent);
  co_return Result<void>{};
}

Result<void> Applier::Check(const Mutation& mutation, const Info& info, bool again) const {
  const uint64_t inode = ContentOf(mutation);
  if (again || inode == 0 || mutation.if_inode != inode || mutation.if_content_version == 0 ||
      site_->state->torn(inode) || site_->VersionOf(inode, info) == mutation.if_content_version) {
    return {};
  }
  return Error{ESTALE, "another host has changed the content"};
}

Task<Result<void>> Applier::NoteContent(const Mutation* mutation, uint64_t inode, std::string path,
                                        uint64_t expected, Done* done) {
  auto info = co_await site_->client->Stat(path);
  if (!info) co_return info.error();
  if (info->size != expected) co_return Error{EIO, path + " has another size than was written"};
  int64_t mtime_ns = mutation->time_ns;
  if (const auto* write = std::get_if<WriteOp>(&mutation->op)) {
    mtime_ns = write->mtime_ns.value_or(mtime_ns);
  }
  // Another one than before, also when the gateway's second is the same.
  const uint64_t told[3] = {info->size, static_cast<uint64_t>(info->mtime_s), mutation->sequence};
  done->version = XXH3_64bits(told, sizeof told) | 1;
  site_->state->Leave(inode, Left{.size = info->size,
                                  .mtime_s = info->mtime_s,
                                  .mtime_ns = mtime_ns,
                                  .version = done->version});
  site_->seen[inode] = *info;
  site_->aging.NoteInode(inode);
  co_return Result<void>{};
}

Task<Result<void>> Applier::Write(const Mutation* mutation, const WriteOp* op, bool again,
                                  Done* done) {
  const auto path = site_->state->paths().PathOf(op->inode);
  if (!path) co_return Error{ENOENT, "write"};
  auto info = co_await site_->client->Stat(*path);
  if (!info) co_return info.error();
  if ((info->mode & S_IFMT) != S_IFREG) co_return Error{ESTALE, *path};
  AIRSTORE_TRY_CO(Check(*mutation, *info, again));
  uint64_t size = op->size.value_or(info->size);
  if (!op->size) {
    for (const WriteExtent& extent : op->extents) {
      size = std::max(size, extent.offset + extent.length);
    }
  }
  AIRSTORE_TRY_CO(co_await writer_.Write(*path, *info, op));
  co_return co_await NoteContent(mutation, op->inode, *path, size, done);
}

Task<Result<void>> Applier::Setattr(const Mutation* mutation, const SetattrOp* op, bool again,
                                    Done* done) {
  if ((op->uid && *op->uid != site_->uid) || (op->gid && *op->gid != site_->gid)) {
    co_return Error{EPERM, "v1 keeps no owners"};
  }
  if (!op->size && !op->mode && !op->mtime_ns) co_return Result<void>{};
  const auto path = site_->state->paths().PathOf(op->inode);
  if (!path) co_return Error{ENOENT, "setattr"};
  auto info = co_await site_->client->Stat(*path);
  if (!info) co_return info.error();
  const bool file = (info->mode & S_IFMT) == S_IFREG;
  if (op->size) {
    AIRSTORE_TRY_CO(Check(*mutation, *info, again));
    AIRSTORE_TRY_CO(co_await writer_.Resize(*path, *info, *op->size));
    AIRSTORE_TRY_CO(co_await NoteContent(mutation, op->inode, *path, *op->size, done));
  } else if (op->mtime_ns && file) {
    AIRSTORE_TRY_CO(co_await site_->client->Touch(*path, info->size));
  }
  if (op->mode) AIRSTORE_TRY_CO(co_await Chmod(*path, *info, *op->mode));
  if (file && (op->mode || !op->size)) {
    auto after = co_await site_->client->Stat(*path);
    if (!after) co_return after.error();
    // Of what was cut to size just now that is what it was before.
    const Info before = op->size ? site_->seen[op->inode] : *info;
    site_->Retouched(op->inode, before, *after, op->mtime_ns);
  }
  site_->aging.NoteInode(op->inode);
  co_return Result<void>{};
}

Task<Result<void>> Applier::Chmod(std::string path, Info info, uint32_t mode) {
  if ((info.mode & 07777) == mode) co_return Result<void>{};
  if ((info.mode & S_IFMT) == S_IFLNK) co_return Error{EOPNOTSUPP, path};
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "" : path.substr(0, slash);
  auto keeps = co_await KeepsModes(directory);
  if (!keeps) co_return keeps.error();
  if (!*keeps) co_return Error{EPERM, "the gateway keeps no modes"};
  const uint32_t whole = (info.mode & S_IFMT) | mode;
  if (IsDir(info)) co_return co_await site_->client->Mkdir(path, whole, false);
  co_return co_await site_->client->Create(path, whole, false);
}

// To change a mode is to create the file once more, which empties it where modes are not kept. So
// that is found out with a file of our own.
Task<Result<bool>> Applier::KeepsModes(std::string directory) {
  if (site_->exact()) co_return true;
  if (site_->first_era) co_return false;
  if (keeps_modes_) co_return *keeps_modes_;
  ContextClient& client = *site_->client;
  const std::string scratch = JoinPath(directory, ScratchName());
  constexpr uint32_t kUnusual = S_IFREG | 0640;
  AIRSTORE_TRY_CO(co_await client.Create(scratch, kUnusual, true));
  auto info = co_await client.Stat(scratch);
  AIRSTORE_TRY_CO(co_await client.Delete(scratch));
  if (!info) co_return info.error();
  keeps_modes_ = site_->keeps_modes = info->mode == kUnusual;
  co_return *keeps_modes_;
}

}  // namespace airstore::broker::v1
