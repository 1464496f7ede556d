// SPDX-License-Identifier: Apache-2.0
#include "broker/virtual/overlay.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>

#include "broker/clock.h"
#include "broker/deadline.h"
#include "broker/virtual/answer_error.h"
#include "broker/virtual/inode.h"
#include "broker/virtual/path.h"

namespace airstore::broker {
namespace {

constexpr uint32_t kDirectoryMode = S_IFDIR | 0755;
constexpr size_t kPage = 4096;
constexpr uint64_t kReadStep = 1u << 20;

// Each to where its question stood.
void Scatter(std::vector<ResolveResult> results, const std::vector<size_t>& places,
             std::vector<ResolveResult>* answers) {
  for (size_t i = 0; i < places.size() && i < results.size(); ++i) {
    (*answers)[places[i]] = std::move(results[i]);
  }
}

uint64_t InodeOfItem(const ResolveItem& item) {
  return std::visit(
      [](const auto& asked) {
        if constexpr (std::is_same_v<std::decay_t<decltype(asked)>, LookupItem>) {
          return asked.parent;
        } else {
          return asked.inode;
        }
      },
      item);
}

}  // namespace

Task<Result<VirtualEntry>> VirtualOverlay::Find(std::string path) {
  std::string rest;
  const VirtualRegistry::Place* place = registry_.Find(path, &rest);
  if (place == nullptr) co_return Error{ENOENT, path};
  const std::shared_ptr<VirtualNode> node = place->node;
  if (rest.empty()) {
    // So that who looks at it sees what there is now.
    auto listed = co_await List(path);
    const DirectoryPtr known = listed ? *listed : Known(path);
    VirtualEntry self;
    self.name = path;
    self.mode = kDirectoryMode;
    self.mtime_ns = known->changed_ns;
    self.version = 1;
    co_return self;
  }
  auto parent = co_await List(ParentOf(path));
  if (!parent) co_return parent.error();
  const VirtualEntry* known = Remembered(path);
  if (known != nullptr && !known->name_only) {
    if (S_ISDIR(known->mode) && directories_.contains(path)) {
      (void)co_await List(path);
      known = Remembered(path);
      if (known == nullptr) co_return Error{ENOENT, path};
      VirtualEntry self = *known;
      self.mtime_ns = std::max(self.mtime_ns, Known(path)->changed_ns);
      co_return self;
    }
    co_return *known;
  }
  auto found = co_await Before(MonotonicNs() + options_.patience_ns, tasks_, executor_,
                               node->Stat(std::move(rest)));
  if (!found) {
    known = Remembered(path);
    const int code = ErrnoFor(found.error().code);
    // Its attributes as they were last seen.
    if (IsRetry(code) && known != nullptr && known->version != 0) co_return *known;
    co_return Error{code, path};
  }
  found->name_only = false;
  Remember(path, *found);
  ExpireAfter(path, *found);
  co_return *found;
}

DirEntry VirtualOverlay::Describe(const std::string& path, const VirtualEntry& entry,
                                  uint64_t inline_bytes) {
  DirEntry out;
  out.name = NameOf(path);
  Attr& attr = out.attr;
  attr.inode = VirtualInode(path);
  attr.generation = 1;
  attr.mode = entry.mode;
  attr.uid = uid_;
  attr.gid = gid_;
  attr.nlink = S_ISDIR(entry.mode) ? 2 : 1;
  attr.size_unknown = S_ISREG(entry.mode) && entry.size_unknown;
  attr.size = S_ISREG(entry.mode) && !entry.size_unknown ? entry.size : 0;
  attr.atime_ns = attr.mtime_ns = attr.ctime_ns = attr.btime_ns = entry.mtime_ns;
  attr.version = attr.content_version = entry.version;
  attr.allocated_bytes = (attr.size + 511) / 512 * 512;
  out.name_only = entry.name_only;
  if (entry.content && entry.content->size() == attr.size && attr.size <= inline_bytes) {
    out.inlined = true;
    out.content = *entry.content;
  }
  paths_.try_emplace(attr.inode, path);
  return out;
}

void VirtualOverlay::HandedOut(const std::string& path) {
  VirtualEntry* const known = Remembered(path);
  if (known == nullptr || !known->content_once) return;
  known->content.reset();
  known->content_once = false;
}

Task<ResolveResult> VirtualOverlay::AnswerList(ListItem item) {
  ResolveResult result;
  const std::string path = PathOf(item.inode);
  auto listed = co_await List(path);
  if (!listed) {
    result.error = listed.error().code;
    co_return result;
  }
  uint64_t inlined = 0;
  auto at =
      item.after.empty() ? (*listed)->entries.begin() : (*listed)->entries.upper_bound(item.after);
  for (; at != (*listed)->entries.end() && result.entries.size() < kPage; ++at) {
    const uint64_t most = inlined < item.inline_budget ? item.inline_bytes : 0;
    result.entries.push_back(Describe(Join(path, at->first), at->second, most));
    inlined += result.entries.back().content.size();
  }
  result.end = at == (*listed)->entries.end();
  co_return result;
}

Task<ResolveResult> VirtualOverlay::Answer(ResolveItem item) {
  ResolveResult result;
  const std::string path = PathOf(InodeOfItem(item));
  if (path.empty()) {
    result.error = ENOENT;
    co_return result;
  }
  if (std::holds_alternative<ListItem>(item))
    co_return co_await AnswerList(std::get<ListItem>(item));
  if (std::holds_alternative<XattrsItem>(item)) co_return result;
  std::string asked = path;
  uint64_t inline_bytes = 0;
  if (const auto* lookup = std::get_if<LookupItem>(&item)) {
    asked = Join(path, lookup->name);
    inline_bytes = lookup->inline_bytes;
  } else if (const auto* getattr = std::get_if<GetattrItem>(&item)) {
    inline_bytes = getattr->inline_bytes;
  }
  auto found = co_await Find(asked);
  if (!found) {
    result.error = found.error().code;
    co_return result;
  }
  if (const auto* layout = std::get_if<LayoutItem>(&item)) {
    result.layout.size = found->size;
    result.layout.content_version = found->version;
    result.layout.end = true;
    if (layout->offset < found->size) {
      result.layout.runs.push_back({layout->offset, found->size - layout->offset});
    }
    co_return result;
  }
  result.entry = Describe(asked, *found, inline_bytes);
  if (result.entry.inlined) HandedOut(asked);
  co_return result;
}

// Items about the root: names of nodes are added where storage has none.
Task<Result<std::vector<ResolveResult>>> VirtualOverlay::ResolveRoot(
    std::vector<ResolveItem> items) {
  co_await AwaitProbe();
  ProbeAgain();
  std::vector<std::string> shown;
  for (const auto& [name, place] : registry_.places()) {
    if (place.shown) shown.push_back(name);
  }
  const size_t asked = items.size();
  const bool lists = std::any_of(items.begin(), items.end(), [](const ResolveItem& item) {
    const auto* list = std::get_if<ListItem>(&item);
    return list != nullptr && list->inode == shm::kRootInode;
  });
  std::vector<ResolveItem> all = items;
  if (lists) {
    for (const std::string& name : shown) all.push_back(LookupItem{shm::kRootInode, name, 0});
  }
  auto results = co_await storage_->Resolve(std::move(all));
  if (!results) co_return results.error();
  if (results->size() < asked) co_return results;
  const auto takes = [&](const ResolveResult& of_storage) {
    return options_.over_storage || of_storage.error == ENOENT;
  };
  std::vector<DirEntry> added;
  for (size_t i = 0; lists && i < shown.size() && asked + i < results->size(); ++i) {
    if (!takes((*results)[asked + i])) continue;
    auto found = co_await Find(shown[i]);
    if (found) added.push_back(Describe(shown[i], *found, 0));
  }
  results->resize(asked);
  for (size_t i = 0; i < asked; ++i) {
    ResolveResult& result = (*results)[i];
    if (const auto* lookup = std::get_if<LookupItem>(&items[i])) {
      if (lookup->parent != shm::kRootInode || !IsShown(lookup->name) || !takes(result)) continue;
      result = ResolveResult();
      auto found = co_await Find(lookup->name);
      if (!found) {
        result.error = found.error().code;
      } else {
        result.entry = Describe(lookup->name, *found, 0);
      }
    } else if (const auto* list = std::get_if<ListItem>(&items[i])) {
      if (list->inode != shm::kRootInode || result.error != 0) continue;
      std::erase_if(result.entries, [&](const DirEntry& entry) {
        return std::any_of(added.begin(), added.end(),
                           [&](const DirEntry& other) { return other.name == entry.name; });
      });
      if (result.end) result.entries.insert(result.entries.end(), added.begin(), added.end());
    }
  }
  co_return results;
}

Task<Result<std::vector<ResolveResult>>> VirtualOverlay::Resolve(std::vector<ResolveItem> items) {
  const auto is_virtual = [](const ResolveItem& item) { return IsVirtual(InodeOfItem(item)); };
  const bool any_virtual = std::any_of(items.begin(), items.end(), is_virtual);
  const bool any_root = std::any_of(items.begin(), items.end(), [this](const ResolveItem& item) {
    if (InodeOfItem(item) != shm::kRootInode) return false;
    if (const auto* lookup = std::get_if<LookupItem>(&item)) {
      return registry_.places().contains(lookup->name);
    }
    return std::holds_alternative<ListItem>(item);
  });
  if (!any_virtual && !any_root) co_return co_await storage_->Resolve(std::move(items));
  co_await AwaitStart();
  if (!any_virtual) co_return co_await ResolveRoot(std::move(items));
  std::vector<ResolveResult> answers(items.size());
  std::vector<ResolveItem> others;
  std::vector<size_t> places;
  for (size_t i = 0; i < items.size(); ++i) {
    if (is_virtual(items[i])) {
      answers[i] = co_await Answer(items[i]);
      // Nothing is known: to be asked again.
      if (answers[i].error == EAGAIN) co_return Error{EAGAIN, "the gateway does not answer"};
    } else {
      others.push_back(items[i]);
      places.push_back(i);
    }
  }
  if (others.empty()) co_return answers;
  if (any_root) {
    auto results = co_await ResolveRoot(std::move(others));
    if (!results) co_return results.error();
    Scatter(std::move(*results), places, &answers);
  } else {
    auto results = co_await storage_->Resolve(std::move(others));
    if (!results) co_return results.error();
    Scatter(std::move(*results), places, &answers);
  }
  co_return answers;
}

Task<Result<Fetched>> VirtualOverlay::Fetch(uint64_t inode, uint64_t offset, uint64_t length) {
  if (!IsVirtual(inode)) co_return co_await storage_->Fetch(inode, offset, length);
  co_await AwaitStart();
  const std::string path = PathOf(inode);
  std::string rest;
  const VirtualRegistry::Place* place = registry_.Find(path, &rest);
  if (place == nullptr) co_return Error{ESTALE, "a file that is gone"};
  const std::shared_ptr<VirtualNode> node = place->node;
  auto found = co_await Find(path);
  if (!found) co_return Error{found.error().code == ENOENT ? ESTALE : found.error().code, path};
  Fetched fetched;
  fetched.content_version = found->version;
  std::string data;
  if (found->content) {
    if (offset < found->content->size()) data = found->content->substr(offset, length);
    if (offset + data.size() == found->content->size()) HandedOut(path);
  } else {
    while (data.size() < length) {
      auto part = co_await node->Read(rest, offset + data.size(), length - data.size());
      if (!part) co_return Error{ErrnoFor(part.error().code), path + ": " + part.error().message};
      const bool end = part->empty();
      data.append(*part, 0, length - data.size());
      if (end) break;
    }
  }
  if (data.size() < length && offset + data.size() < found->size) {
    // The size was not true: whoever has it asks for it again.
    found->size = offset + data.size();
    ++found->version;
    fetched.content_version = found->version;
    Remember(path, *found);
  }
  const uint64_t bytes = data.size();
  fetched.ranges.push_back({offset, bytes, std::move(data)});
  co_return fetched;
}

Task<Result<bool>> VirtualOverlay::Settle(uint64_t inode) {
  const std::string path = PathOf(inode);
  const VirtualEntry* known = path.empty() ? nullptr : Remembered(path);
  if (known == nullptr || !known->size_unknown) co_return false;
  std::string rest;
  const VirtualRegistry::Place* place = registry_.Find(path, &rest);
  if (place == nullptr) co_return false;
  const std::shared_ptr<VirtualNode> node = place->node;
  std::string content;
  uint64_t size = 0;
  for (;;) {
    auto part = co_await Before(MonotonicNs() + options_.patience_ns, tasks_, executor_,
                                node->Read(rest, size, kReadStep));
    if (!part) {
      const int code = ErrnoFor(part.error().code);
      co_return Error{IsRetry(code) ? ETIMEDOUT : code, path};
    }
    size += part->size();
    if (size <= kReadStep) content += *part;
    if (part->size() < kReadStep) break;
  }
  known = Remembered(path);
  if (known == nullptr) co_return Error{ESTALE, path};
  VirtualEntry entry = *known;
  entry.size = size;
  entry.size_unknown = false;
  ++entry.version;
  if (size <= kReadStep) {
    entry.content = std::move(content);
    entry.content_once = true;
  }
  Remember(path, std::move(entry));
  Tell(std::vector<uint64_t>(1, inode), {});
  co_return true;
}

Task<Result<void>> VirtualOverlay::Make(uint64_t parent, std::string name, bool directory) {
  const std::string path = Join(PathOf(parent), name);
  std::string rest;
  const VirtualRegistry::Place* place = registry_.Find(path, &rest);
  if (place == nullptr || place->node->kind() != VirtualNode::Kind::kQuery) {
    co_return Error{EROFS, path};
  }
  const std::shared_ptr<VirtualNode> node = place->node;
  auto made = co_await node->Make(std::move(rest), directory);
  if (!made) {
    const int code = made.error().code;
    spdlog::info("making {}: {}", path, made.error().ToString());
    co_return Error{code == ENOSYS ? EROFS : IsRetry(code) ? ETIMEDOUT : ErrnoFor(code), path};
  }
  auto listed = co_await List(ParentOf(path), true);
  if (!listed)
    co_return Error{IsRetry(listed.error().code) ? ETIMEDOUT : listed.error().code, path};
  Tell({parent}, {{parent, name}});
  co_return Result<void>{};
}

}  // namespace airstore::broker
