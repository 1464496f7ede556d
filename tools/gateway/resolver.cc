// SPDX-License-Identifier: Apache-2.0
#include "tools/gateway/resolver.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "tools/gateway/content.h"
#include "tools/gateway/validate.h"

namespace airstore::gateway {
namespace {

// Of an entry without its name.
constexpr uint64_t kEntryBytes = 160;

uint64_t WireBytes(const ResolvedEntry& entry) {
  return kEntryBytes + entry.name.size() + entry.inode.symlink_target.size();
}

}  // namespace

int Resolver::Lookup(InodeNo parent, std::string_view name, uint64_t inline_bytes,
                     ResolvedEntry* entry) {
  if (const int error = CheckName(name); error != 0) return error;
  touched_.insert(zones_.OfNames(parent));
  const auto ino = reader_.GetEntry(ws_, parent, name);
  if (!ino) {
    const auto directory = reader_.GetInode(ws_, parent);
    return directory && !S_ISDIR(directory->mode) ? ENOTDIR : ENOENT;
  }
  entry->name = name;
  return GetAttr(*ino, inline_bytes, entry);
}

int Resolver::GetAttr(InodeNo ino, uint64_t inline_bytes, ResolvedEntry* entry) {
  auto inode = reader_.GetInode(ws_, ino);
  if (!inode) return ENOENT;
  Touch(inode);
  entry->inode = std::move(*inode);
  used_bytes_ += WireBytes(*entry);
  if (inline_bytes > 0) Inline(entry, inline_bytes);
  return 0;
}

void Resolver::Inline(ResolvedEntry* entry, uint64_t inline_bytes) {
  const Inode& inode = entry->inode;
  if (!S_ISREG(inode.mode) || inode.size > std::min(inline_bytes, kMaxInlineBytes)) return;
  if (used_bytes_ + inode.size > kAnswerBytes) return;
  if (!inlines_ || SteadyNow() >= inline_until_) return;
  std::vector<Extent> extents;
  if (inode.allocated > 0) extents = reader_.ListExtents(ws_, inode.ino, 0, inode.size);
  auto bytes = ReadExtents(blocks_, ws_, extents, 0, inode.size, inline_until_);
  if (!bytes) {
    // For Fetch to report; the attributes are good. One that is damaged says nothing of the others.
    inlines_ = bytes.error().code == EBADMSG || bytes.error().code == ENOENT;
    return;
  }
  entry->content = std::move(*bytes);
  entry->inlined = true;
  used_bytes_ += entry->content.size();
}

int Resolver::List(const ListRequest& request, Listed* listed) {
  auto directory = reader_.GetInode(ws_, request.ino);
  if (!directory) return ENOENT;
  if (!S_ISDIR(directory->mode)) return ENOTDIR;
  touched_.insert(zones_.OfNames(request.ino));
  listed->directory = std::move(*directory);

  size_t limit = kPageEntries;
  if (request.max_entries > 0) limit = std::min<size_t>(limit, request.max_entries);
  // No more rows than the answer has room for, and at least one: see below.
  const uint64_t room = kAnswerBytes - std::min(used_bytes_, kAnswerBytes);
  limit = std::max<size_t>(1, std::min<size_t>(limit, room / kEntryBytes));
  // One more than asked for tells whether this is the end.
  auto rows = reader_.ListEntries(ws_, request.ino, request.after, limit + 1);
  listed->end = rows.size() <= limit;
  if (!listed->end) rows.pop_back();
  uint64_t inline_left = request.inline_budget;
  for (Entry& row : rows) {
    ResolvedEntry entry{std::move(row.name), std::move(row.inode), {}, false};
    // At least one entry, so that whoever goes on behind the last name comes to an end.
    if (!listed->entries.empty() && used_bytes_ + WireBytes(entry) > kAnswerBytes) {
      listed->end = false;
      break;
    }
    used_bytes_ += WireBytes(entry);
    if (request.inline_bytes > 0 && entry.inode.size <= inline_left) {
      Inline(&entry, request.inline_bytes);
      inline_left -= entry.content.size();
    }
    listed->entries.push_back(std::move(entry));
  }
  return 0;
}

int Resolver::GetXattr(InodeNo ino, std::string_view name, std::string* value) {
  const auto inode = reader_.GetInode(ws_, ino);
  if (!inode) return ENOENT;
  Touch(inode);
  if (inode->xattr_count == 0) return ENODATA;
  auto found = reader_.GetXattr(ws_, ino, name);
  if (!found) return ENODATA;
  *value = std::move(*found);
  used_bytes_ += value->size();
  return 0;
}

int Resolver::ListXattrs(InodeNo ino, std::vector<std::string>* names) {
  const auto inode = reader_.GetInode(ws_, ino);
  if (!inode) return ENOENT;
  Touch(inode);
  if (inode->xattr_count > 0) *names = reader_.ListXattrs(ws_, ino);
  for (const std::string& name : *names) used_bytes_ += name.size() + 2;
  return 0;
}

int Resolver::Layout(const LayoutRequest& request, FileLayout* layout) {
  const uint64_t offset = request.offset;
  const auto inode = reader_.GetInode(ws_, request.ino);
  if (!inode) return ENOENT;
  Touch(inode);
  if (!S_ISREG(inode->mode)) return S_ISDIR(inode->mode) ? EISDIR : EINVAL;
  layout->content_version = inode->content_version;
  layout->size = inode->size;
  layout->end = true;
  size_t most = kPageEntries;
  if (request.max_runs > 0) most = std::min<size_t>(most, request.max_runs);
  std::vector<Extent> extents;
  if (inode->allocated > 0 && offset < inode->size) {
    extents = reader_.ListExtents(ws_, request.ino, offset, inode->size);
  }
  for (const Extent& e : extents) {
    const uint64_t start = std::max(e.offset, offset);
    const uint64_t end = std::min(e.end(), inode->size);
    if (start >= end) continue;
    auto& runs = layout->runs;
    if (!request.blocks && !runs.empty() && runs.back().first + runs.back().second == start) {
      runs.back().second += end - start;
    } else if (runs.size() == most) {
      layout->end = false;
      break;
    } else {
      runs.emplace_back(start, end - start);
      if (request.blocks) {
        layout->blocks.push_back({e.block, e.block_offset + (start - e.offset)});
      }
    }
  }
  used_bytes_ += layout->runs.size() * 20 + layout->blocks.size() * 30;
  return 0;
}

}  // namespace airstore::gateway
