// SPDX-License-Identifier: Apache-2.0
#include "broker/v1/resolver.h"

#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <set>

namespace airstore::broker::v1 {
namespace {

// The original lists one page of a thousand, hidden names included, and does not say so.
constexpr size_t kSuspiciousListing = 900;
constexpr int kPage = 1000;
constexpr size_t kMostTargets = 4095;
// So many attributes of one directory are asked for by its listing.
constexpr size_t kWorthListing = 4;

bool IsLink(const Info& info) { return (info.mode & S_IFMT) == S_IFLNK; }
bool IsDir(const Info& info) { return (info.mode & S_IFMT) == S_IFDIR; }
bool IsFile(const Info& info) { return (info.mode & S_IFMT) == S_IFREG; }

ResolveResult Failed(int error) {
  ResolveResult result;
  result.error = error;
  return result;
}

}  // namespace

bool IsAnswer(const Error& error) {
  return error.code != EAGAIN && error.code != EACCES && error.code != ENOSYS &&
         error.code != ESTALE;
}

Task<Result<std::vector<ResolveResult>>> Resolver::Resolve(std::vector<ResolveItem> items) {
  std::vector<ResolveResult> results(items.size());
  // Many of one directory at once: its listing tells of all.
  std::map<uint64_t, std::vector<size_t>> by_parent;
  for (size_t i = 0; i < items.size(); ++i) {
    const auto* getattr = std::get_if<GetattrItem>(&items[i]);
    if (getattr == nullptr || getattr->inode == kRoot) continue;
    by_parent[site_->state->paths().ParentOf(getattr->inode)].push_back(i);
  }
  std::set<size_t> answered;
  for (const auto& [parent, of] : by_parent) {
    const auto path = site_->state->paths().PathOf(parent);
    if (of.size() < kWorthListing || parent == 0 || !path) continue;
    auto listed = co_await List(*path);
    if (!listed) continue;
    for (const Entry& entry : *listed) {
      const uint64_t inode = site_->state->paths().Find(parent, entry.name);
      if (inode == 0 || IsLink(entry.info)) continue;
      for (const size_t i : of) {
        if (std::get<GetattrItem>(items[i]).inode != inode) continue;
        results[i].entry.attr = site_->Describe(inode, entry.info, "");
        answered.insert(i);
      }
    }
  }
  for (size_t i = 0; i < items.size(); ++i) {
    if (answered.contains(i)) continue;
    results[i] = co_await One(&items[i]);
    // Half an answer is none.
    if (results[i].error == EAGAIN || results[i].error == EACCES || results[i].error == ENOSYS) {
      co_return Error{results[i].error, "the gateway did not answer"};
    }
  }
  co_return results;
}

Task<ResolveResult> Resolver::One(const ResolveItem* item) {
  if (const auto* lookup = std::get_if<LookupItem>(item)) co_return co_await Lookup(*lookup);
  if (const auto* getattr = std::get_if<GetattrItem>(item)) co_return co_await Getattr(*getattr);
  if (const auto* list = std::get_if<ListItem>(item)) co_return co_await ListItems(*list);
  if (const auto* layout = std::get_if<LayoutItem>(item)) co_return co_await Runs(*layout);
  co_return ResolveResult();  // extended attributes: none
}

Task<Result<DirEntry>> Resolver::Look(uint64_t inode, std::string path, Info info,
                                      uint64_t inline_bytes) {
  std::string target;
  if (IsLink(info)) {
    auto read = co_await site_->client->Readlink(path);
    if (!read) co_return read.error();
    target = std::move(*read);
  }
  DirEntry entry;
  entry.attr = site_->Describe(inode, info, std::move(target));
  if (IsFile(info) && info.size != 0 && info.size <= inline_bytes) {
    auto content = co_await site_->client->Read(path, 0, info.size);
    if (content && content->size() == info.size) {
      entry.content = std::move(*content);
      entry.inlined = true;
    }
  }
  co_return entry;
}

Task<ResolveResult> Resolver::Lookup(LookupItem item) {
  const auto path = site_->PathOf(item.parent, item.name);
  if (!path) co_return Failed(ESTALE);
  site_->aging.NoteNamesOf(item.parent);
  if (!IsUtf8(item.name)) co_return Failed(ENOENT);  // v1 has no such names
  auto info = co_await site_->client->Stat(*path);
  if (!info) co_return Failed(info.error().code);
  // A number is given to what is there only.
  const uint64_t inode = site_->state->Learn(item.parent, item.name);
  auto entry = co_await Look(inode, *path, *info, item.inline_bytes);
  if (!entry) co_return Failed(entry.error().code);
  ResolveResult result;
  result.entry = std::move(*entry);
  result.entry.name = item.name;
  co_return result;
}

Task<ResolveResult> Resolver::Getattr(GetattrItem item) {
  const auto path = site_->state->paths().PathOf(item.inode);
  if (!path) co_return Failed(ENOENT);
  auto info = co_await site_->client->Stat(*path);
  if (!info) co_return Failed(info.error().code);
  auto entry = co_await Look(item.inode, *path, *info, item.inline_bytes);
  if (!entry) co_return Failed(entry.error().code);
  ResolveResult result;
  result.entry = std::move(*entry);
  co_return result;
}

Task<ResolveResult> Resolver::ListItems(ListItem item) {
  const auto path = site_->state->paths().PathOf(item.inode);
  if (!path) co_return Failed(ENOENT);
  site_->aging.NoteNamesOf(item.inode);
  auto listed = co_await List(*path);
  if (!listed) co_return Failed(listed.error().code);
  ResolveResult result;
  Info directory;
  directory.mode = S_IFDIR | 0755;
  result.directory = site_->Describe(item.inode, directory, "");
  result.end = true;
  for (const Entry& entry : *listed) {
    if (entry.name <= item.after) continue;
    DirEntry out;
    out.name = entry.name;
    std::string target;
    if (IsLink(entry.info)) {
      auto read = co_await site_->client->Readlink(JoinPath(*path, entry.name));
      if (!read && read.error().code == ENOENT) continue;
      if (!read) co_return Failed(read.error().code);
      target = std::move(*read);
    }
    out.attr =
        site_->Describe(site_->state->Learn(item.inode, entry.name), entry.info, std::move(target));
    result.entries.push_back(std::move(out));
  }
  co_return result;
}

Task<ResolveResult> Resolver::Runs(LayoutItem item) {
  auto found = co_await Getattr(GetattrItem{item.inode, 0});
  ResolveResult result;
  result.error = found.error;
  const Attr& attr = found.entry.attr;
  if (item.offset < attr.size) {
    result.layout.runs.push_back({item.offset, attr.size - item.offset});
  }
  result.layout.end = true;
  result.layout.content_version = attr.content_version;
  result.layout.size = attr.size;
  co_return result;
}

Task<Result<std::vector<Entry>>> Resolver::List(std::string path) {
  auto listed = co_await site_->client->ReadDir(path);
  std::vector<Entry> entries;
  if (listed) {
    entries = std::move(*listed);
  } else if (listed.error().code != EFBIG) {
    co_return listed.error();
  }
  const bool cut = !listed || (!site_->exact() && entries.size() >= kSuspiciousListing &&
                               entries.size() <= static_cast<size_t>(kPage));
  if (entries.empty() && !path.empty() && !site_->exact()) {
    // The original says the same of a file, and of what is not there.
    auto info = co_await site_->client->Stat(path);
    if (!info) co_return info.error();
    if (!IsDir(*info)) co_return Error{ENOTDIR, path};
  }
  if (cut) AIRSTORE_TRY_CO(co_await AddFromTree(path, &entries));
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.name < b.name; });
  entries.erase(std::unique(entries.begin(), entries.end(),
                            [](const Entry& a, const Entry& b) { return a.name == b.name; }),
                entries.end());
  if (site_->first_era) AIRSTORE_TRY_CO(co_await TellLinks(path, &entries));
  co_return entries;
}

Task<Result<void>> Resolver::AddFromTree(std::string path, std::vector<Entry>* entries) {
  std::set<std::string> known;
  for (const Entry& entry : *entries) known.insert(entry.name);
  std::string token;
  do {
    auto page = co_await site_->client->ListTree(path, 1, kPage, token);
    if (!page) co_return page.error();
    for (Entry& entry : page->entries) {
      const size_t slash = entry.name.find('/');
      if (slash != std::string::npos) {
        entry.name.resize(slash);
        entry.info = Info{.size = 0, .mode = S_IFDIR | 0755, .mtime_s = 0};
      }
      if (entry.name.empty() || entry.name == "." || entry.name == "..") continue;
      if (known.insert(entry.name).second) entries->push_back(std::move(entry));
    }
    token = page->next;
  } while (!token.empty());
  co_return Result<void>{};
}

// Listings of the first era show symbolic links as files of the length of their target.
Task<Result<void>> Resolver::TellLinks(std::string path, std::vector<Entry>* entries) {
  for (Entry& entry : *entries) {
    if (!IsFile(entry.info) || entry.info.size == 0 || entry.info.size > kMostTargets) continue;
    auto info = co_await site_->client->Stat(JoinPath(path, entry.name));
    if (info) {
      entry.info = *info;
    } else if (info.error().code != ENOENT) {
      co_return info.error();
    }
  }
  co_return Result<void>{};
}

Task<Result<bool>> Resolver::IsEmpty(std::string path) {
  auto listed = co_await site_->client->ReadDir(path);
  if (!listed) co_return listed.error();
  if (!listed->empty()) co_return false;
  if (site_->exact()) co_return true;
  // Names that listings do not show are something all the same.
  auto page = co_await site_->client->ListTree(path, 0, 2, "");
  if (!page) co_return page.error();
  co_return std::all_of(page->entries.begin(), page->entries.end(), [](const Entry& entry) {
    return entry.name.empty() || entry.name == "." || entry.name == "/";
  });
}

Task<Result<Fetched>> Resolver::Fetch(uint64_t inode, uint64_t offset, uint64_t length) {
  const auto path = site_->state->paths().PathOf(inode);
  if (!path) co_return Error{ENOENT, "fetch"};
  Info info;
  if (const auto seen = site_->seen.find(inode); seen != site_->seen.end()) {
    info = seen->second;
  } else {
    auto told = co_await site_->client->Stat(*path);
    if (!told) co_return told.error();
    info = *told;
  }
  Fetched fetched;
  const uint64_t there = offset < info.size ? std::min(length, info.size - offset) : 0;
  FetchedRange range;
  range.offset = offset;
  if (there != 0) {
    auto data = co_await site_->client->Read(*path, offset, std::min(there, kMostContent));
    if (!data && data.error().code == ENOENT) {
      if (const auto moved = site_->MovedPath(*path)) {
        data = co_await site_->client->Read(*moved, offset, std::min(there, kMostContent));
      }
    }
    if (!data) co_return data.error();
    range.data = std::move(*data);
  }
  range.length = range.data.size();
  // One call is of one content; several may not be, nor is what is shorter than it was said to be.
  if (there != info.size || range.length != there) {
    auto told = co_await site_->client->Stat(*path);
    if (!told) co_return told.error();
    info = *told;
    site_->seen[inode] = info;
  }
  fetched.content_version = site_->VersionOf(inode, info);
  if (range.length != 0) fetched.ranges.push_back(std::move(range));
  co_return fetched;
}

}  // namespace airstore::broker::v1
