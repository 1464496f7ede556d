// SPDX-License-Identifier: Apache-2.0
//
// The tables in portable form. They are rebuilt by who adopts the imported segment
// (MetaWriter::Adopt): here are records only, each at its index, whole or marked as lost.
#include <unistd.h>

#include <algorithm>
#include <functional>

#include "shm/meta_entries.h"
#include "shm/portable_fields.h"
#include "shm/portable_import.h"

namespace airstore::shm {
namespace {

constexpr uint32_t kMostEntries = 1u << 28;

// The parts of the segment that have memory: reading the others would take some.
Result<void> EachWritten(const Segment& segment, uint64_t begin, uint64_t end,
                         const std::function<void(uint64_t, uint64_t)>& look) {
  while (begin < end) {
    const off_t data = lseek(segment.fd(), static_cast<off_t>(begin), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return {};
    const off_t hole = data < 0 ? -1 : lseek(segment.fd(), data, SEEK_HOLE);
    if (hole < 0) return SysError("find what a meta segment holds");
    const uint64_t from = static_cast<uint64_t>(data);
    const uint64_t to = std::min(end, static_cast<uint64_t>(hole));
    if (from >= end) return {};
    look(from, to);
    begin = to;
  }
  return {};
}

// Indexes of whole entries of a table within such parts, in order.
template <typename EntryType>
Result<void> EachEntry(const Segment& segment, uint64_t table, uint32_t capacity,
                       const std::function<void(uint32_t)>& look) {
  uint32_t next = 1;
  return EachWritten(segment, table, table + uint64_t{capacity} * sizeof(EntryType),
                     [&](uint64_t from, uint64_t to) {
                       const auto first = static_cast<uint32_t>((from - table) / sizeof(EntryType));
                       const auto end = static_cast<uint32_t>((to - table + sizeof(EntryType) - 1) /
                                                              sizeof(EntryType));
                       for (next = std::max(next, first); next < std::min(end, capacity); ++next) {
                         look(next);
                       }
                     });
}

// The record whose write its writer may have died in.
template <typename Record>
bool Intended(const MetaState& state, MetaIntent table, uint32_t index, Record* record) {
  if (static_cast<MetaIntent>(state.intent.load(std::memory_order_relaxed)) != table ||
      state.index.load(std::memory_order_relaxed) != index) {
    return false;
  }
  std::array<uint64_t, sizeof(Record) / 8> words;
  for (size_t i = 0; i < words.size(); ++i) {
    words[i] = state.words[i].load(std::memory_order_relaxed);
  }
  memcpy(record, words.data(), sizeof(*record));
  return true;
}

template <typename Record>
bool Whole(const Entry<Record>& entry, Record* record) {
  if (entry.sequence.load(std::memory_order_relaxed) % 2 != 0) return false;
  *record = OwnRecord(entry);
  return true;
}

std::string NameOf(const MetaView& view, const DentryRecord& record) {
  if (record.name_bytes > kMaxName) return {};
  if (record.long_name == kNoIndex) {
    return {reinterpret_cast<const char*>(record.name),
            std::min<size_t>(record.name_bytes, kInlineName)};
  }
  if (record.long_name >= view.geometry().long_name_capacity) return {};
  std::array<uint64_t, sizeof(LongName) / 8> words;
  for (size_t i = 0; i < words.size(); ++i) {
    words[i] = view.long_name(record.long_name).words[i].load(std::memory_order_relaxed);
  }
  return {reinterpret_cast<const char*>(words.data()), record.name_bytes};
}

}  // namespace

Result<void> ExportTables(UniqueFd meta, PortableWriter* out) {
  SegmentHeader header;
  if (pread(meta.get(), static_cast<void*>(&header), sizeof(header), 0) != sizeof(header)) {
    return Error{EPROTO, "meta segment too short"};
  }
  Segment::Identity identity{SegmentKind::kMeta, {}, 0};
  memcpy(identity.session.data(), header.session_id, identity.session.size());
  auto segment = Segment::Attach(std::move(meta), identity, false);
  if (!segment) return segment.error();
  auto view = MetaView::Over(**segment);
  if (!view) return view.error();
  const MetaGeometry& geometry = view->geometry();
  const MetaState& state = view->state();
  const uint64_t tables[] = {geometry.inode_capacity, geometry.dentry_capacity,
                             geometry.long_name_capacity,
                             state.applied_lsn.load(std::memory_order_relaxed),
                             state.dropping.load(std::memory_order_relaxed)};
  out->Put(PortableKind::kTables, tables);
  std::vector<uint64_t> words;
  AIRSTORE_TRY(EachEntry<InodeEntry>(**segment, geometry.inodes_offset, geometry.inode_capacity,
                                     [&](uint32_t index) {
                                       InodeRecord record;
                                       words = {index};
                                       if (!Intended(state, MetaIntent::kInode, index, &record) &&
                                           !Whole(view->inode(index), &record)) {
                                         out->Put(PortableKind::kLostInode, words);
                                         return;
                                       }
                                       if (record.inode == 0) return;
                                       PutFields(record, &words);
                                       out->Put(PortableKind::kInode, words);
                                     }));
  return EachEntry<DentryEntry>(**segment, geometry.dentries_offset, geometry.dentry_capacity,
                                [&](uint32_t index) {
                                  DentryRecord record;
                                  words = {index};
                                  if (!Intended(state, MetaIntent::kDentry, index, &record) &&
                                      !Whole(view->dentry(index), &record)) {
                                    out->Put(PortableKind::kLostDentry, words);
                                    return;
                                  }
                                  if (record.parent == 0) return;
                                  PutFields(record, &words);
                                  out->Put(PortableKind::kDentry, words, NameOf(*view, record));
                                });
}

Result<void> TablesImport::Begin(const PortableRecord& record, const SessionId& session) {
  if (writer_) return Error{EPROTO, "two sets of tables are handed over"};
  for (int i = 0; i < 3; ++i) {
    if (record.word(i) < 2 || record.word(i) > kMostEntries) {
      return Error{EPROTO, "tables of an impossible size are handed over"};
    }
  }
  uint64_t total = 0;
  const MetaGeometry geometry = MetaWriter::LayoutOf(
      {static_cast<uint32_t>(record.word(0)), static_cast<uint32_t>(record.word(1)),
       static_cast<uint32_t>(record.word(2))},
      &total);
  auto writer = MetaWriter::Make(session, geometry, total);
  if (!writer) return writer.error();
  writer_ = std::move(*writer);
  MetaState& state = writer_->view_.state();
  state.applied_lsn.store(record.word(3), std::memory_order_relaxed);
  state.dropping.store(record.word(4), std::memory_order_relaxed);
  return {};
}

template <typename EntryType>
Result<void> TablesImport::Lost(EntryType* entry) {
  AIRSTORE_TRY(writer_->Back(entry, sizeof(*entry)));
  entry->sequence.store(1, std::memory_order_relaxed);  // as its writer has left it
  return {};
}

Result<void> TablesImport::Take(const PortableRecord& record) {
  if (!writer_) return Error{EPROTO, "entries of no table are handed over"};
  const MetaGeometry& geometry = writer_->view_.geometry();
  const bool inode = record.kind == PortableKind::kInode || record.kind == PortableKind::kLostInode;
  const uint64_t index = record.word(0);
  if (index == kNoIndex || index >= (inode ? geometry.inode_capacity : geometry.dentry_capacity)) {
    return Error{EPROTO, "an entry outside of its table is handed over"};
  }
  const auto at = static_cast<uint32_t>(index);
  switch (record.kind) {
    case PortableKind::kInode:
      return TakeInode(at, record);
    case PortableKind::kLostInode:
      return Lost(&writer_->view_.inode(at));
    case PortableKind::kDentry:
      return TakeDentry(at, record);
    default:
      return Lost(&writer_->view_.dentry(at));
  }
}

Result<void> TablesImport::TakeInode(uint32_t index, const PortableRecord& from) {
  InodeRecord record{};
  size_t at = 1;
  TakeFields(from.words, &at, &record);
  if (record.content_kind == static_cast<uint32_t>(ContentKind::kSlab)) {
    record.content_kind = static_cast<uint32_t>(ContentKind::kNone);
    ++record.content_generation;
  }
  InodeEntry& entry = writer_->view_.inode(index);
  AIRSTORE_TRY(writer_->Back(&entry, sizeof(entry)));
  WriteEntry(&entry, record);
  return {};
}

Result<void> TablesImport::TakeDentry(uint32_t index, const PortableRecord& from) {
  DentryRecord record{};
  size_t at = 1;
  TakeFields(from.words, &at, &record);
  const std::string& name = from.text;
  if (name.empty() || name.size() > kMaxName) {
    return Error{EPROTO, "a name of an impossible length is handed over"};
  }
  record.name_bytes = static_cast<uint32_t>(name.size());
  record.name_hash = HashName(record.parent, name);
  if (name.size() <= kInlineName) {
    memcpy(record.name, name.data(), name.size());
  } else {
    if (next_long_name_ >= writer_->view_.geometry().long_name_capacity) {
      return Error{ENOSPC, "more long names are handed over than there is room for"};
    }
    record.long_name = next_long_name_++;
    LongName& place = writer_->view_.long_name(record.long_name);
    AIRSTORE_TRY(writer_->Back(&place, sizeof(place)));
    std::array<uint64_t, sizeof(LongName) / 8> words{};
    memcpy(words.data(), name.data(), name.size());
    for (size_t i = 0; i < words.size(); ++i) {
      place.words[i].store(words[i], std::memory_order_relaxed);
    }
  }
  DentryEntry& entry = writer_->view_.dentry(index);
  AIRSTORE_TRY(writer_->Back(&entry, sizeof(entry)));
  WriteEntry(&entry, record);
  return {};
}

Result<std::unique_ptr<Segment>> TablesImport::Finish() {
  if (!writer_) return Error{EPROTO, "no tables are handed over"};
  writer_->segment_->MarkReady();
  return std::move(writer_->segment_);
}

Result<std::unique_ptr<Segment>> ImportTables(int file, const SessionId& session) {
  PortableReader reader(file);
  TablesImport tables;
  PortableRecord record;
  for (;;) {
    auto more = reader.Next(&record);
    if (!more) return more.error();
    if (!*more) return tables.Finish();
    switch (record.kind) {
      case PortableKind::kTables:
        AIRSTORE_TRY(tables.Begin(record, session));
        break;
      case PortableKind::kInode:
      case PortableKind::kLostInode:
      case PortableKind::kDentry:
      case PortableKind::kLostDentry:
        AIRSTORE_TRY(tables.Take(record));
        break;
      default:  // of a later version: it can be done without
        break;
    }
  }
}

}  // namespace airstore::shm
