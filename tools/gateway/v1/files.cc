// SPDX-License-Identifier: Apache-2.0
//
// Files: looking. Changes are in files_change.cc.
#include "tools/gateway/v1/files.h"

#include <sys/stat.h>

#include <algorithm>

#include "tools/gateway/content.h"
#include "tools/gateway/v1/paths.h"
#include "tools/gateway/v1/store_failure.h"

namespace airstore::gateway::v1 {
namespace {

using Parts = std::vector<std::string_view>;

Result<Inode> Walk(MetadataReader& rows, WorkspaceKey ws, const Parts& parts) {
  std::optional<Inode> inode = rows.GetInode(ws, kRootInode);
  for (const std::string_view part : parts) {
    if (inode && !S_ISDIR(inode->mode)) {
      AIRSTORE_TRY(OfStore(rows.status()));
      return Error{ENOTDIR, {}};
    }
    const auto ino = inode ? rows.GetEntry(ws, inode->ino, part) : std::nullopt;
    if (!ino) {
      AIRSTORE_TRY(OfStore(rows.status()));
      return Error{ENOENT, {}};
    }
    inode = rows.GetInode(ws, *ino);
  }
  AIRSTORE_TRY(OfStore(rows.status()));
  if (!inode) return Error{ESTALE, "the workspace does not exist any more"};
  return std::move(*inode);
}

struct Found {
  std::unique_ptr<MetadataReader> rows;
  Inode inode;
};

Result<Found> Find(Gateway& gateway, const Who& who, std::string_view path) {
  auto parts = SplitPath(path);
  if (!parts) return parts.error();
  auto rows = gateway.store().Read();
  if (!rows) return OfStore(rows.error());
  auto inode = Walk(**rows, who.workspace, *parts);
  if (!inode) return inode.error();
  return Found{std::move(*rows), std::move(*inode)};
}

// Everything below a directory, parents before their children, names in byte order, behind `after`.
class TreeWalk {
 public:
  TreeWalk(MetadataReader& rows, WorkspaceKey ws, size_t depth, size_t max, TreePage* page)
      : rows_(rows), ws_(ws), depth_(depth), max_(max), page_(page) {}

  // False: the page is full.
  bool Visit(InodeNo directory, const std::string& prefix, Parts after, size_t level) {
    too_deep_ = too_deep_ || level > kMaxDepth;
    if (too_deep_) return false;
    std::string from;
    if (!after.empty()) {
      from = after.front();
      // What was listed already may have children that were not.
      const auto ino = rows_.GetEntry(ws_, directory, from);
      const auto inode = ino ? rows_.GetInode(ws_, *ino) : std::nullopt;
      if (inode && S_ISDIR(inode->mode) && GoesDeeper(level)) {
        Parts rest(after.begin() + 1, after.end());
        if (!Visit(*ino, prefix + from + "/", std::move(rest), level + 1)) return false;
      }
    }
    constexpr size_t kRows = 1000;
    while (true) {
      const auto entries = rows_.ListEntries(ws_, directory, from, kRows);
      for (const Entry& entry : entries) {
        from = entry.name;
        if (!IsUtf8(entry.name)) continue;
        if (page_->items.size() == max_) {
          page_->more = true;
          return false;
        }
        page_->items.push_back({prefix + entry.name, entry.inode});
        if (S_ISDIR(entry.inode.mode) && GoesDeeper(level) &&
            !Visit(entry.inode.ino, prefix + entry.name + "/", {}, level + 1)) {
          return false;
        }
      }
      if (entries.size() < kRows) return true;
    }
  }

  bool too_deep() const { return too_deep_; }

 private:
  bool GoesDeeper(size_t level) const { return depth_ == 0 || level < depth_; }

  MetadataReader& rows_;
  const WorkspaceKey ws_;
  const size_t depth_;
  const size_t max_;
  TreePage* page_;
  bool too_deep_ = false;
};

}  // namespace

Result<Inode> Files::Stat(const Who& who, std::string_view path) {
  return UntilNoConflict([&]() -> Result<Inode> {
    auto found = Find(gateway_, who, path);
    if (!found) return found.error();
    return std::move(found->inode);
  });
}

Result<std::vector<Entry>> Files::List(const Who& who, std::string_view path) {
  return UntilNoConflict([&] { return ListOnce(who, path); });
}

Result<std::vector<Entry>> Files::ListOnce(const Who& who, std::string_view path) {
  auto found = Find(gateway_, who, path);
  if (!found) {
    const auto parts = SplitPath(path);
    if (found.error().code == ENOENT && parts->size() == 1 && IsReserved(parts->front())) {
      return std::vector<Entry>();
    }
    return found.error();
  }
  if (!S_ISDIR(found->inode.mode)) return Error{ENOTDIR, {}};
  auto entries = found->rows->ListEntries(who.workspace, found->inode.ino, "", INT32_MAX);
  AIRSTORE_TRY(OfStore(found->rows->status()));
  std::erase_if(entries, [](const Entry& entry) { return !IsUtf8(entry.name); });
  return entries;
}

Result<TreePage> Files::Tree(const Who& who, std::string_view path, std::string_view after,
                             size_t depth, size_t max_items) {
  return UntilNoConflict([&] { return TreeOnce(who, path, after, depth, max_items); });
}

Result<TreePage> Files::TreeOnce(const Who& who, std::string_view path, std::string_view after,
                                 size_t depth, size_t max_items) {
  auto behind = SplitPath(after);
  if (!behind) return behind.error();
  auto found = Find(gateway_, who, path);
  if (!found) return found.error();
  if (!S_ISDIR(found->inode.mode)) return Error{ENOTDIR, {}};
  TreePage page;
  TreeWalk walk(*found->rows, who.workspace, depth, std::min(max_items, kMaxTreePage), &page);
  walk.Visit(found->inode.ino, "", std::move(*behind), 1);
  AIRSTORE_TRY(OfStore(found->rows->status()));
  if (walk.too_deep()) return Error{ENAMETOOLONG, {}};
  return page;
}

Result<std::string> Files::Read(const Who& who, std::string_view path, uint64_t offset,
                                uint64_t length) {
  InodeNo ino = 0;
  {
    auto found = Stat(who, path);
    if (!found) return found.error();
    const Inode& inode = *found;
    if (S_ISDIR(inode.mode)) return Error{EISDIR, {}};
    if (!S_ISREG(inode.mode)) return Error{EINVAL, "not a regular file"};
    const uint64_t left = inode.size - std::min(offset, inode.size);
    length = length == 0 ? left : std::min(length, left);
    ino = inode.ino;
  }
  if (length > kMaxReadBytes) {
    return Error{EFBIG, "more than one answer holds: read at most 15 MiB at once"};
  }
  if (length == 0) return std::string();
  auto fetched =
      FetchContent(gateway_.store(), gateway_.blocks(), who.workspace, ino, {{offset, length}});
  if (!fetched) return OfStore(fetched.error());
  if (fetched->error != 0) return Error{fetched->error, {}};
  std::string data;
  data.reserve(length);
  for (const FetchedPiece& piece : fetched->pieces) {
    if (piece.data.empty()) {
      data.append(piece.length, '\0');
    } else {
      data.append(piece.data);
    }
  }
  return data;
}

}  // namespace airstore::gateway::v1
