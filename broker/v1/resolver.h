// SPDX-License-Identifier: Apache-2.0
//
// Resolver: names, attributes, listings and content of a v1 gateway.
//
// Threads: the event loop.
// Fails: as broker/gateway.h says. A failure of what lies behind the gateway is EIO and never taken
// for a name that does not exist.
#pragma once

#include <string>
#include <vector>

#include "broker/v1/site.h"

namespace airstore::broker::v1 {

class Resolver {
 public:
  explicit Resolver(Site* site) : site_(site) {}

  Task<Result<std::vector<ResolveResult>>> Resolve(std::vector<ResolveItem> items);
  Task<Result<Fetched>> Fetch(uint64_t inode, uint64_t offset, uint64_t length);
  // All of a directory, sorted, links told from files. ENOENT, ENOTDIR.
  Task<Result<std::vector<Entry>>> List(std::string path);
  // There is nothing in it, also nothing that listings do not show.
  Task<Result<bool>> IsEmpty(std::string path);

 private:
  Task<ResolveResult> One(const ResolveItem* item);
  Task<ResolveResult> Lookup(LookupItem item);
  Task<ResolveResult> Getattr(GetattrItem item);
  Task<ResolveResult> ListItems(ListItem item);
  Task<ResolveResult> Runs(LayoutItem item);
  Task<Result<DirEntry>> Look(uint64_t inode, std::string path, Info info, uint64_t inline_bytes);
  Task<Result<void>> AddFromTree(std::string path, std::vector<Entry>* entries);
  Task<Result<void>> TellLinks(std::string path, std::vector<Entry>* entries);

  Site* site_;
};

// The failure of a call that is the answer to the item it was made for, and no reason to ask again.
bool IsAnswer(const Error& error);

}  // namespace airstore::broker::v1
