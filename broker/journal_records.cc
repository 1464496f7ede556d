// SPDX-License-Identifier: Apache-2.0
#include "broker/journal_records.h"

#include <linux/fs.h>

namespace airstore::broker {
namespace {

// Fields go through one function for both directions, `Field(io, value)`, so they cannot differ.
class Writer {
 public:
  explicit Writer(std::string* to) : to_(to) { to_->clear(); }

  void Number(uint64_t value) {
    while (value >= 0x80) {
      to_->push_back(static_cast<char>(value | 0x80));
      value >>= 7;
    }
    to_->push_back(static_cast<char>(value));
  }
  void Text(const std::string& value) {
    Number(value.size());
    to_->append(value);
  }

 private:
  std::string* to_;
};

class Reader {
 public:
  explicit Reader(std::span<const uint8_t> from) : from_(from) {}

  uint64_t Number() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (from_.empty()) break;
      const uint8_t byte = from_.front();
      from_ = from_.subspan(1);
      if (shift == 63 && byte > 1) break;
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    failed_ = true;
    return 0;
  }
  std::string Text() {
    const uint64_t bytes = Number();
    if (bytes > from_.size()) {
      failed_ = true;
      return {};
    }
    std::string value(reinterpret_cast<const char*>(from_.data()), bytes);
    from_ = from_.subspan(bytes);
    return value;
  }
  // Of elements that take a byte at least.
  size_t Count() {
    const uint64_t count = Number();
    if (count <= from_.size()) return count;
    failed_ = true;
    return 0;
  }
  void Fail() { failed_ = true; }
  bool done() const { return !failed_ && from_.empty(); }

 private:
  std::span<const uint8_t> from_;
  bool failed_ = false;
};

uint64_t ZigZag(int64_t value) {
  return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
}
int64_t UnZigZag(uint64_t value) { return static_cast<int64_t>((value >> 1) ^ (~(value & 1) + 1)); }

void Field(Writer& to, uint64_t value) { to.Number(value); }
void Field(Writer& to, uint32_t value) { to.Number(value); }
void Field(Writer& to, int64_t value) { to.Number(ZigZag(value)); }
void Field(Writer& to, bool value) { to.Number(value ? 1 : 0); }
void Field(Writer& to, const std::string& value) { to.Text(value); }

void Field(Reader& from, uint64_t& value) { value = from.Number(); }
void Field(Reader& from, uint32_t& value) {
  const uint64_t number = from.Number();
  if (number > UINT32_MAX) from.Fail();
  value = static_cast<uint32_t>(number);
}
void Field(Reader& from, int64_t& value) { value = UnZigZag(from.Number()); }
void Field(Reader& from, bool& value) {
  const uint64_t number = from.Number();
  if (number > 1) from.Fail();
  value = number != 0;
}
void Field(Reader& from, std::string& value) { value = from.Text(); }

template <typename T>
void Field(Writer& to, const std::optional<T>& value) {
  Field(to, value.has_value());
  if (value) Field(to, *value);
}
template <typename T>
void Field(Reader& from, std::optional<T>& value) {
  bool present = false;
  Field(from, present);
  if (present) Field(from, value.emplace());
}

template <typename IO, typename T>
void Field(IO& io, T& value);

template <typename T>
void Field(Writer& to, const std::vector<T>& values) {
  to.Number(values.size());
  for (const T& value : values) Field(to, value);
}
template <typename T>
void Field(Reader& from, std::vector<T>& values) {
  values.resize(from.Count());
  for (T& value : values) Field(from, value);
}

void Field(Writer& to, const Xattrs& values) {
  to.Number(values.size());
  for (const auto& [name, value] : values) {
    to.Text(name);
    to.Text(value);
  }
}
void Field(Reader& from, Xattrs& values) {
  for (size_t left = from.Count(); left > 0; --left) {
    std::string name = from.Text();
    values[std::move(name)] = from.Text();
  }
}

template <typename T>
void Enumerated(Writer& to, T value, T /*greatest*/) {
  to.Number(static_cast<uint64_t>(value));
}
template <typename T>
void Enumerated(Reader& from, T& value, T greatest) {
  const uint64_t number = from.Number();
  if (number > static_cast<uint64_t>(greatest)) return from.Fail();
  value = static_cast<T>(number);
}

template <typename IO, typename... Values>
void Fields(IO& io, Values&... values) {
  (Field(io, values), ...);
}

// Const when writing. One list of fields for each struct.
template <typename IO, typename T>
void Field(IO& io, T& value) {
  using Plain = std::remove_const_t<T>;
  if constexpr (std::is_same_v<Plain, CallPlace>) {
    Fields(io, value.mount, value.position);
  } else if constexpr (std::is_same_v<Plain, CreateOp>) {
    Fields(io, value.parent, value.name, value.inode, value.mode, value.uid, value.gid, value.rdev,
           value.symlink_target, value.xattrs);
  } else if constexpr (std::is_same_v<Plain, LinkOp>) {
    Fields(io, value.inode, value.parent, value.name);
  } else if constexpr (std::is_same_v<Plain, UnlinkOp>) {
    Fields(io, value.parent, value.name, value.directory, value.inode);
  } else if constexpr (std::is_same_v<Plain, RenameOp>) {
    Fields(io, value.old_parent, value.old_name, value.new_parent, value.new_name, value.flags,
           value.whiteout, value.whiteout_uid, value.whiteout_gid);
  } else if constexpr (std::is_same_v<Plain, SetattrOp>) {
    Fields(io, value.inode, value.mode, value.uid, value.gid, value.size, value.atime_ns,
           value.mtime_ns, value.ctime_ns);
  } else if constexpr (std::is_same_v<Plain, TouchOp>) {
    Fields(io, value.inode);
  } else if constexpr (std::is_same_v<Plain, SetXattrOp>) {
    Fields(io, value.inode, value.name, value.value, value.mode);
  } else if constexpr (std::is_same_v<Plain, RemoveXattrOp>) {
    Fields(io, value.inode, value.name);
  } else if constexpr (std::is_same_v<Plain, BatchRecord::Entry>) {
    Fields(io, value.ticket, value.content_inode);
  } else if constexpr (std::is_same_v<Plain, BatchRecord>) {
    Fields(io, value.first_sequence, value.entries);
  } else if constexpr (std::is_same_v<Plain, SettledRecord>) {
    Fields(io, value.ticket, value.sequence);
  } else if constexpr (std::is_same_v<Plain, ElidedRecord>) {
    Fields(io, value.inode, value.dropped);
  } else if constexpr (std::is_same_v<Plain, AttachedRecord>) {
    Fields(io, value.inode, value.file, value.id, value.complete, value.never_sent, value.dirty,
           value.orphan, value.cut);
  } else if constexpr (std::is_same_v<Plain, CutRecord>) {
    Fields(io, value.inode, value.call);
  } else if constexpr (std::is_same_v<Plain, InodesRecord>) {
    Fields(io, value.first, value.count);
  } else if constexpr (std::is_same_v<Plain, CountersRecord>) {
    Fields(io, value.next_ticket, value.next_sequence);
  } else if constexpr (std::is_same_v<Plain, WatchRecord>) {
    Fields(io, value.cursor, value.lease_id);
  } else if constexpr (std::is_same_v<Plain, LockOwner>) {
    Fields(io, value.mount, value.id);
  } else if constexpr (std::is_same_v<Plain, LockRange>) {
    Fields(io, value.owner);
    Enumerated(io, value.type, LockType::kExclusive);
    Fields(io, value.first, value.last, value.pid);
  } else if constexpr (std::is_same_v<Plain, LockCall>) {
    Fields(io, value.inode, value.flock, value.range, value.handle);
  } else if constexpr (std::is_same_v<Plain, LockRecord>) {
    Enumerated(io, value.action, LockRecord::Action::kAnswered);
    Fields(io, value.call, value.unique);
  } else if constexpr (std::is_same_v<Plain, XattrsRecord>) {
    Fields(io, value.inode, value.xattrs);
  } else if constexpr (std::is_same_v<Plain, VersionRecord>) {
    Fields(io, value.inode, value.version);
  } else {
    static_assert(std::is_same_v<Plain, DetachedRecord> || std::is_same_v<Plain, DirtyRecord> ||
                  std::is_same_v<Plain, CleanRecord>);
    Fields(io, value.inode);
  }
}

// In the order of Mutation::op; what is written stays what it is.
template <size_t... I>
void ReadOp(Reader& from, uint64_t index, Mutation* to, std::index_sequence<I...>) {
  const auto read = [&]<size_t N>(std::integral_constant<size_t, N>) {
    if (index != N) return false;
    if constexpr (std::is_same_v<std::variant_alternative_t<N, decltype(to->op)>, WriteOp>) {
      return false;
    } else {
      Field(from, to->op.emplace<N>());
      return true;
    }
  };
  if (!(read(std::integral_constant<size_t, I>()) || ...)) from.Fail();
}

template <typename Record>
Result<AnyRecord> Read(std::span<const uint8_t> payload) {
  Reader from(payload);
  Record record;
  Field(from, record);
  if (!from.done()) return Error{EPROTO, "journal record"};
  return AnyRecord(std::move(record));
}

template <>
Result<AnyRecord> Read<MutationRecord>(std::span<const uint8_t> payload) {
  Reader from(payload);
  MutationRecord record;
  uint64_t index = 0;
  Fields(from, record.ticket, record.call, record.orphan, record.subjects, record.parents,
         record.mutation.time_ns, record.mutation.if_inode, record.mutation.if_content_version,
         index);
  ReadOp(from, index, &record.mutation,
         std::make_index_sequence<std::variant_size_v<decltype(record.mutation.op)>>());
  if (!from.done()) return Error{EPROTO, "journal record of a change"};
  // What is meant is in the record already.
  if (auto* rename = std::get_if<RenameOp>(&record.mutation.op)) {
    const bool exchange = (rename->flags & RENAME_EXCHANGE) != 0;
    if (!record.subjects.empty()) rename->inode = record.subjects[0];
    if (exchange && record.subjects.size() > 1) rename->exchanged = record.subjects[1];
  }
  return AnyRecord(std::move(record));
}

template <typename Record>
void Write(const Record& record, std::string* to) {
  Writer writer(to);
  Field(writer, record);
}

}  // namespace

void Encode(const MutationRecord& record, std::string* to) {
  Writer writer(to);
  const auto index = static_cast<uint64_t>(record.mutation.op.index());
  Fields(writer, record.ticket, record.call, record.orphan, record.subjects, record.parents,
         record.mutation.time_ns, record.mutation.if_inode, record.mutation.if_content_version,
         index);
  std::visit(
      [&](const auto& op) {
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(op)>, WriteOp>) {
          abort();
        } else {
          Field(writer, op);
        }
      },
      record.mutation.op);
}
void Encode(const BatchRecord& record, std::string* to) { Write(record, to); }
void Encode(const SettledRecord& record, std::string* to) { Write(record, to); }
void Encode(const ElidedRecord& record, std::string* to) { Write(record, to); }
void Encode(const AttachedRecord& record, std::string* to) { Write(record, to); }
void Encode(const DetachedRecord& record, std::string* to) { Write(record, to); }
void Encode(const DirtyRecord& record, std::string* to) { Write(record, to); }
void Encode(const CleanRecord& record, std::string* to) { Write(record, to); }
void Encode(const InodesRecord& record, std::string* to) { Write(record, to); }
void Encode(const CountersRecord& record, std::string* to) { Write(record, to); }
void Encode(const CutRecord& record, std::string* to) { Write(record, to); }
void Encode(const WatchRecord& record, std::string* to) { Write(record, to); }
void Encode(const LockRecord& record, std::string* to) { Write(record, to); }
void Encode(const XattrsRecord& record, std::string* to) { Write(record, to); }
void Encode(const VersionRecord& record, std::string* to) { Write(record, to); }

Result<AnyRecord> Decode(uint16_t type, std::span<const uint8_t> payload) {
  switch (static_cast<RecordType>(type)) {
    case RecordType::kMutation:
      return Read<MutationRecord>(payload);
    case RecordType::kBatch:
      return Read<BatchRecord>(payload);
    case RecordType::kSettled:
      return Read<SettledRecord>(payload);
    case RecordType::kElided:
      return Read<ElidedRecord>(payload);
    case RecordType::kAttached:
      return Read<AttachedRecord>(payload);
    case RecordType::kDetached:
      return Read<DetachedRecord>(payload);
    case RecordType::kDirty:
      return Read<DirtyRecord>(payload);
    case RecordType::kClean:
      return Read<CleanRecord>(payload);
    case RecordType::kInodes:
      return Read<InodesRecord>(payload);
    case RecordType::kCounters:
      return Read<CountersRecord>(payload);
    case RecordType::kCut:
      return Read<CutRecord>(payload);
    case RecordType::kWatch:
      return Read<WatchRecord>(payload);
    case RecordType::kLock:
      return Read<LockRecord>(payload);
    case RecordType::kXattrs:
      return Read<XattrsRecord>(payload);
    case RecordType::kVersion:
      return Read<VersionRecord>(payload);
  }
  return Error{EPROTO, "journal record of type " + std::to_string(type)};
}

}  // namespace airstore::broker
