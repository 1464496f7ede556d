// SPDX-License-Identifier: Apache-2.0
#include "broker/v1/renamer.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>

namespace airstore::broker::v1 {
namespace {

constexpr uint64_t kPart = 8u << 20;
constexpr int kPage = 1000;
constexpr uint32_t kNoReplace = 1;  // RENAME_NOREPLACE

bool IsDir(const Info& info) { return (info.mode & S_IFMT) == S_IFDIR; }
bool IsLink(const Info& info) { return (info.mode & S_IFMT) == S_IFLNK; }

}  // namespace

Task<Result<void>> Renamer::KeepDirectory(uint64_t inode) {
  if (site_->exact() || inode == kRoot) co_return Result<void>{};
  const auto path = site_->state->paths().PathOf(inode);
  if (!path) co_return Result<void>{};
  auto info = co_await site_->client->Stat(*path);
  if (!info || !IsDir(*info)) co_return Result<void>{};
  co_return co_await site_->client->Mkdir(*path, info->mode, false);
}

Task<Result<void>> Renamer::Rename(const RenameOp* op, bool again) {
  if ((op->flags & ~kNoReplace) != 0 || op->whiteout != 0) co_return Error{EINVAL, "rename"};
  const auto from = site_->PathOf(op->old_parent, op->old_name);
  const auto to = site_->PathOf(op->new_parent, op->new_name);
  if (!from || !to) co_return Error{ENOENT, "rename"};
  if (!IsUtf8(op->new_name)) co_return Error{EILSEQ, "rename"};
  auto info = co_await site_->client->Stat(*from);
  if (!info) {
    if (info.error().code != ENOENT || !again) co_return info.error();
    auto made = co_await site_->client->Stat(*to);
    if (!made) co_return made.error();
  } else {
    AIRSTORE_TRY_CO(co_await Check(op, &*info, *to, again));
    AIRSTORE_TRY_CO(co_await KeepDirectory(op->old_parent));
    Result<void> moved;
    if (IsDir(*info)) {
      site_->renaming = std::make_pair(*from, *to);
      moved = co_await MoveDirectory(site_->state->paths().Find(op->old_parent, op->old_name),
                                     *from, *to, *info);
      site_->renaming.reset();
    } else {
      moved = co_await MoveFile(*from, *to, *info);
    }
    if (!moved) co_return moved;
  }
  const uint64_t inode = site_->state->paths().Find(op->old_parent, op->old_name);
  site_->state->Move(op->old_parent, op->old_name, op->new_parent, op->new_name);
  if (info && !site_->exact() && !IsDir(*info) && !IsLink(*info)) {
    auto after = co_await site_->client->Stat(*to);
    if (!after) co_return after.error();
    site_->Retouched(inode, *info, *after, {});
  }
  site_->aging.NoteNamesOf(op->old_parent);
  site_->aging.NoteNamesOf(op->new_parent);
  if (inode != 0) site_->aging.NoteInode(inode);
  co_return Result<void>{};
}

Task<Result<void>> Renamer::Check(const RenameOp* op, const Info* from, std::string to,
                                  bool again) {
  if (again) co_return Result<void>{};  // what is there may be its own first half
  auto target = co_await site_->client->Stat(to);
  if (!target) {
    if (target.error().code == ENOENT) co_return Result<void>{};
    co_return target.error();
  }
  if ((op->flags & kNoReplace) != 0) co_return Error{EEXIST, to};
  if (IsDir(*target) && !IsDir(*from)) co_return Error{EISDIR, to};
  if (!IsDir(*target) && IsDir(*from)) co_return Error{ENOTDIR, to};
  if (IsDir(*target)) {
    auto empty = co_await resolver_->IsEmpty(to);
    if (!empty) co_return empty.error();
    if (!*empty) co_return Error{ENOTEMPTY, to};
  }
  co_return Result<void>{};
}

Task<Result<void>> Renamer::MoveFile(std::string from, std::string to, Info info) {
  ContextClient& client = *site_->client;
  auto renamed = co_await client.Rename(from, to);
  if (site_->exact()) co_return renamed;
  if (!renamed && renamed.error().code != EIO && renamed.error().code != ENOENT) {
    co_return renamed;
  }
  // Names that a copy there cannot handle are copied from here.
  if (!renamed) AIRSTORE_TRY_CO(co_await CopyFile(from, to, info));
  auto moved = co_await client.Stat(to);
  if (!moved) co_return Error{EIO, "rename: " + moved.error().message};
  if (moved->size != info.size) co_return Error{EIO, "rename: another size"};
  // It says so also when it could not remove the old one.
  auto left = co_await client.Stat(from);
  if (left) {
    AIRSTORE_TRY_CO(co_await client.Delete(from));
    left = co_await client.Stat(from);
    if (left) co_return Error{EIO, "rename: " + from + " does not go"};
  }
  if (left.error().code != ENOENT) co_return left.error();
  co_return Result<void>{};
}

Task<Result<void>> Renamer::CopyFile(std::string from, std::string to, Info info) {
  ContextClient& client = *site_->client;
  if (IsLink(info)) {
    auto target = co_await client.Readlink(from);
    if (!target) co_return target.error();
    co_return co_await client.Symlink(*target, to);
  }
  AIRSTORE_TRY_CO(co_await client.Create(to, info.mode, false));
  if (info.size == 0) co_return co_await client.Truncate(to, 0);
  for (uint64_t offset = 0; offset < info.size; offset += kPart) {
    auto bytes = co_await client.Read(from, offset, std::min(kPart, info.size - offset));
    if (!bytes) co_return bytes.error();
    AIRSTORE_TRY_CO(co_await client.Write(to, offset, std::move(*bytes)));
  }
  auto now = co_await client.Stat(to);
  if (now && now->size > info.size) co_return co_await client.Truncate(to, info.size);
  co_return Result<void>{};
}

Task<Result<void>> Renamer::MoveDirectory(uint64_t directory, std::string from, std::string to,
                                          Info info) {
  ContextClient& client = *site_->client;
  if (site_->exact()) co_return co_await client.Rename(from, to);
  AIRSTORE_TRY_CO(co_await client.Mkdir(to, info.mode, false));
  std::string last;
  for (;;) {
    auto first = co_await MoveSome(directory, from, to);
    if (!first) co_return first.error();
    // What was moved and is there again will be so for ever.
    if (first->empty() || *first == last) break;
    last = std::move(*first);
  }
  AIRSTORE_TRY_CO(co_await client.Delete(from));
  auto left = co_await client.Stat(from);
  if (left) co_return Error{EIO, "rename: something is left of " + from};
  if (left.error().code != ENOENT) co_return left.error();
  co_return Result<void>{};
}

// The number of what is at that path below a directory; 0: it is not known.
uint64_t Renamer::Below(uint64_t directory, const std::string& path) const {
  for (size_t at = 0; at < path.size() && directory != 0;) {
    const size_t slash = std::min(path.find('/', at), path.size());
    directory = site_->state->paths().Find(directory, path.substr(at, slash - at));
    at = slash + 1;
  }
  return directory;
}

Task<Result<std::string>> Renamer::MoveSome(uint64_t directory, std::string from, std::string to) {
  ContextClient& client = *site_->client;
  auto page = co_await client.ListTree(from, 0, kPage, "");
  if (!page) co_return page.error();
  std::string first;
  std::vector<std::string> directories;
  for (Entry& entry : page->entries) {
    while (!entry.name.empty() && entry.name.back() == '/') {
      entry.name.pop_back();
      entry.info.mode = S_IFDIR | (entry.info.mode & 07777);
    }
    if (entry.name.empty()) continue;
    if (IsDir(entry.info)) {
      directories.push_back(entry.name);
      continue;
    }
    auto info = co_await client.Stat(JoinPath(from, entry.name));
    if (!info && info.error().code == ENOENT) continue;
    if (!info) co_return info.error();
    const std::string target = JoinPath(to, entry.name);
    AIRSTORE_TRY_CO(co_await MoveFile(JoinPath(from, entry.name), target, *info));
    if (const uint64_t inode = Below(directory, entry.name); inode != 0 && !IsLink(*info)) {
      auto after = co_await client.Stat(target);
      if (!after) co_return after.error();
      site_->Retouched(inode, *info, *after, {});
    }
    if (first.empty()) first = entry.name;
  }
  // What is below them is gone, or comes with the next page.
  std::sort(directories.begin(), directories.end(), std::greater<>());
  for (const std::string& name : directories) {
    auto info = co_await client.Stat(JoinPath(from, name));
    if (!info && info.error().code == ENOENT) continue;
    if (!info) co_return info.error();
    AIRSTORE_TRY_CO(co_await client.Mkdir(JoinPath(to, name), info->mode, false));
    auto empty = co_await resolver_->IsEmpty(JoinPath(from, name));
    if (!empty) co_return empty.error();
    if (!*empty) continue;
    AIRSTORE_TRY_CO(co_await client.Delete(JoinPath(from, name)));
    if (first.empty()) first = name;
  }
  co_return first;
}

}  // namespace airstore::broker::v1
