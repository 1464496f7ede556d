// SPDX-License-Identifier: Apache-2.0
//
// Lookups, attributes and listings of one Resolve call, all from one snapshot, within a budget of
// bytes for the whole answer: listings end early (and say so) rather than outgrow a message.
// Content comes along while that is quick: it ends with the first block that cannot be read, and
// after a while in any case.
//
// Threads: one at a time.
// Ownership: borrows the snapshot and the blocks.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "tools/gateway/blocks.h"
#include "tools/gateway/metadata_store.h"
#include "tools/gateway/zones.h"

namespace airstore::gateway {

struct ResolvedEntry {
  std::string name;
  Inode inode;
  std::string content;
  bool inlined = false;
};

struct ListRequest {
  InodeNo ino = 0;
  std::string_view after;
  uint32_t max_entries = 0;
  uint64_t inline_bytes = 0;
  uint64_t inline_budget = 0;
};

struct Listed {
  Inode directory;
  std::vector<ResolvedEntry> entries;
  bool end = false;
};

struct LayoutRequest {
  InodeNo ino = 0;
  uint64_t offset = 0;
  uint32_t max_runs = 0;  // 0: our choice
  bool blocks = false;
};

// Runs of content. Extents that touch each other are one, unless blocks were asked for.
struct FileLayout {
  std::vector<std::pair<uint64_t, uint64_t>> runs;  // offset, length
  std::vector<BlockSource> blocks;                  // of each run, when asked for
  bool end = false;
  uint64_t content_version = 0;
  uint64_t size = 0;
};

class Resolver {
 public:
  // Bytes of one answer; a gRPC message may be twice as large.
  static constexpr uint64_t kAnswerBytes = 8ull << 20;
  static constexpr size_t kPageEntries = 4096;

  Resolver(MetadataReader& reader, Blocks& blocks, WorkspaceKey ws)
      : reader_(reader), blocks_(blocks), ws_(ws), zones_(ParentsIn(reader, ws)) {}

  // Each answers 0 or an errno.
  int Lookup(InodeNo parent, std::string_view name, uint64_t inline_bytes, ResolvedEntry* entry);
  int GetAttr(InodeNo ino, uint64_t inline_bytes, ResolvedEntry* entry);
  int List(const ListRequest& request, Listed* listed);
  int GetXattr(InodeNo ino, std::string_view name, std::string* value);
  int ListXattrs(InodeNo ino, std::vector<std::string>* names);
  int Layout(const LayoutRequest& request, FileLayout* layout);

  // The answer has become too large: only a caller who batches without measure gets here.
  bool overflown() const { return used_bytes_ > kAnswerBytes * 3 / 2; }
  // What the answers are about.
  const std::set<InodeNo>& zones() const { return touched_; }

 private:
  void Inline(ResolvedEntry* entry, uint64_t inline_bytes);
  void Touch(const std::optional<Inode>& inode) {
    if (inode) touched_.insert(zones_.Of(*inode));
  }

  static constexpr std::chrono::seconds kInlineTime{2};

  MetadataReader& reader_;
  Blocks& blocks_;
  const WorkspaceKey ws_;
  Zones zones_;
  std::set<InodeNo> touched_;
  uint64_t used_bytes_ = 0;
  const SteadyTime inline_until_ = SteadyNow() + kInlineTime;
  bool inlines_ = true;
};

}  // namespace airstore::gateway
