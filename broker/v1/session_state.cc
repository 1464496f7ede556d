// SPDX-License-Identifier: Apache-2.0
#include "broker/v1/session_state.h"

#include <spdlog/spdlog.h>
#include <string.h>

#include <algorithm>
#include <utility>

namespace airstore::broker::v1 {
namespace {

constexpr size_t kResultsKept = 4096;  // more than the changes of a batch
constexpr uint64_t kWorthRewriting = 1u << 20;

enum class Kind : uint8_t {
  kHead = 'H',
  kInodes = 'I',
  kBind = 'B',
  kUnbind = 'U',
  kMove = 'M',
  kBegin = 'b',
  kDone = 'd',
  kLeft = 'L',
};
constexpr char kFormat[] = "airstore v1 session 1";

std::string FileOf(const std::string& directory) { return directory + "/v1.names"; }

class Writer {
 public:
  explicit Writer(Kind kind) {
    constexpr size_t kMostly = 128;
    text_.reserve(kMostly);
    text_.push_back(static_cast<char>(kind));
  }
  Writer& Add(uint64_t value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Writer& Add(std::string_view value) {
    Add(uint64_t{value.size()});
    text_ += value;
    return *this;
  }
  std::string Take() { return std::move(text_); }

 private:
  std::string text_;
};

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}
  uint64_t Number() {
    uint64_t value = 0;
    if (text_.size() < sizeof value) return Bad(), 0;
    memcpy(&value, text_.data(), sizeof value);
    text_.remove_prefix(sizeof value);
    return value;
  }
  std::string Text() {
    const uint64_t length = Number();
    if (length > text_.size()) return Bad(), std::string();
    std::string value(text_.substr(0, length));
    text_.remove_prefix(length);
    return value;
  }
  bool good() const { return good_; }

 private:
  void Bad() {
    good_ = false;
    text_ = {};
  }
  std::string_view text_;
  bool good_ = true;
};

std::string LeftRecord(uint64_t inode, const Left& left) {
  return Writer(Kind::kLeft)
      .Add(inode)
      .Add(left.size)
      .Add(static_cast<uint64_t>(left.mtime_s))
      .Add(static_cast<uint64_t>(left.mtime_ns))
      .Add(left.version)
      .Take();
}
std::string BindRecord(uint64_t parent, const std::string& name, uint64_t inode) {
  return Writer(Kind::kBind).Add(parent).Add(inode).Add(name).Take();
}
std::string DoneRecord(uint64_t sequence, const SessionState::Done& done) {
  return Writer(Kind::kDone)
      .Add(sequence)
      .Add(static_cast<uint64_t>(done.error))
      .Add(done.version)
      .Take();
}

}  // namespace

Result<void> SessionState::Load() {
  if (loaded_) return {};
  bool ours = false;
  bool first = true;
  auto opened = RecordFile::Open(FileOf(directory_), [&](std::string_view record) {
    if (std::exchange(first, false)) {
      Reader reader(record.substr(record.empty() ? 0 : 1));
      ours = !record.empty() && record[0] == static_cast<char>(Kind::kHead) &&
             reader.Text() == kFormat;
      workspace = reader.Text();
      return;
    }
    if (ours) Take(record);
  });
  if (!opened && opened.error().code != ENOENT) return opened.error();
  if (opened && !ours) return Error{EPROTO, FileOf(directory_) + " is not of this version"};
  if (opened) {
    file_.emplace(std::move(*opened));
    rewritten_bytes_ = file_->bytes();
  }
  for (const auto& [sequence, inode] : begun_) {
    if (inode != 0) torn_.insert(inode);
  }
  loaded_ = true;
  return {};
}

void SessionState::Take(std::string_view record) {
  if (record.empty()) return;
  Reader reader(record.substr(1));
  switch (static_cast<Kind>(record[0])) {
    case Kind::kInodes:
      next_inode_ = std::max(next_inode_, reader.Number());
      break;
    case Kind::kBind: {
      const uint64_t parent = reader.Number();
      const uint64_t inode = reader.Number();
      const std::string name = reader.Text();
      if (!reader.good()) break;
      paths_.Bind(parent, name, inode);
      next_inode_ = std::max(next_inode_, inode + 1);
      break;
    }
    case Kind::kUnbind: {
      const uint64_t parent = reader.Number();
      const std::string name = reader.Text();
      if (reader.good()) paths_.Unbind(parent, name);
      break;
    }
    case Kind::kMove: {
      const uint64_t parent = reader.Number();
      const std::string name = reader.Text();
      const uint64_t new_parent = reader.Number();
      const std::string new_name = reader.Text();
      if (reader.good()) paths_.Move(parent, name, new_parent, new_name);
      break;
    }
    case Kind::kBegin: {
      const uint64_t sequence = reader.Number();
      begun_[sequence] = reader.Number();
      break;
    }
    case Kind::kDone: {
      const uint64_t sequence = reader.Number();
      Done done;
      done.error = static_cast<int>(reader.Number());
      done.version = reader.Number();
      if (!reader.good()) break;
      begun_.erase(sequence);
      done_[sequence] = done;
      last_done_ = std::max(last_done_, sequence);
      break;
    }
    case Kind::kLeft: {
      const uint64_t inode = reader.Number();
      Left left;
      left.size = reader.Number();
      left.mtime_s = static_cast<int64_t>(reader.Number());
      left.mtime_ns = static_cast<int64_t>(reader.Number());
      left.version = reader.Number();
      if (reader.good()) left_[inode] = left;
      break;
    }
    default:
      break;
  }
}

std::vector<std::string> SessionState::All() const {
  std::vector<std::string> all;
  all.push_back(Writer(Kind::kHead).Add(std::string_view(kFormat)).Add(workspace).Take());
  all.push_back(Writer(Kind::kInodes).Add(next_inode_).Take());
  paths_.ForEach([&](uint64_t parent, const std::string& name, uint64_t inode) {
    all.push_back(BindRecord(parent, name, inode));
  });
  for (const auto& [inode, left] : left_) {
    if (paths_.ParentOf(inode) != 0) all.push_back(LeftRecord(inode, left));
  }
  for (const auto& [sequence, inode] : begun_) {
    all.push_back(Writer(Kind::kBegin).Add(sequence).Add(inode).Take());
  }
  for (const auto& [sequence, done] : done_) all.push_back(DoneRecord(sequence, done));
  return all;
}

Result<void> SessionState::Save() {
  const bool grown = file_ && file_->bytes() > 2 * rewritten_bytes_ + kWorthRewriting;
  if (file_ && !grown && !unsaved_) return {};
  auto written = RecordFile::Write(FileOf(directory_), All());
  if (!written) {
    if (written.error().code == ENOENT) return {};  // no session yet
    unsaved_ = true;
    return written.error();
  }
  file_.emplace(std::move(*written));
  rewritten_bytes_ = file_->bytes();
  unsaved_ = false;
  return {};
}

// What could not be written comes with the whole, at the next change.
Result<void> SessionState::Record(const std::string& record) {
  if (!file_ || unsaved_) {
    AIRSTORE_TRY(Save());
    return {};
  }
  if (auto appended = file_->Append(record); !appended) {
    unsaved_ = true;
    return appended;
  }
  return {};
}

uint64_t SessionState::TakeInodes(uint64_t count) {
  const uint64_t first = next_inode_;
  next_inode_ += count;
  if (auto noted = Record(Writer(Kind::kInodes).Add(next_inode_).Take()); !noted) {
    spdlog::error("{}", noted.error().ToString());
  }
  return first;
}

uint64_t SessionState::Learn(uint64_t parent, const std::string& name) {
  if (const uint64_t known = paths_.Find(parent, name); known != 0) return known;
  const uint64_t inode = next_inode_++;
  // The record of the name raises the number along.
  Bind(parent, name, inode);
  return inode;
}

void SessionState::Bind(uint64_t parent, const std::string& name, uint64_t inode) {
  if (paths_.Find(parent, name) == inode) return;
  paths_.Bind(parent, name, inode);
  if (auto noted = Record(BindRecord(parent, name, inode)); !noted) {
    spdlog::error("{}", noted.error().ToString());
  }
}

void SessionState::Unbind(uint64_t parent, const std::string& name) {
  if (const uint64_t inode = paths_.Find(parent, name); inode != 0) {
    left_.erase(inode);
    torn_.erase(inode);
  }
  paths_.Unbind(parent, name);
  if (auto noted = Record(Writer(Kind::kUnbind).Add(parent).Add(name).Take()); !noted) {
    spdlog::error("{}", noted.error().ToString());
  }
}

void SessionState::Move(uint64_t parent, const std::string& name, uint64_t new_parent,
                        const std::string& new_name) {
  if (!paths_.Move(parent, name, new_parent, new_name)) return;
  const std::string record =
      Writer(Kind::kMove).Add(parent).Add(name).Add(new_parent).Add(new_name).Take();
  if (auto noted = Record(record); !noted) spdlog::error("{}", noted.error().ToString());
}

Result<void> SessionState::Begin(uint64_t sequence, uint64_t inode) {
  begun_[sequence] = inode;
  return Record(Writer(Kind::kBegin).Add(sequence).Add(inode).Take());
}

Result<void> SessionState::Finish(uint64_t sequence, Done done) {
  if (const auto begun = begun_.find(sequence); begun != begun_.end()) {
    if (begun->second != 0 && done.error == 0) torn_.erase(begun->second);
    begun_.erase(begun);
  }
  done_[sequence] = done;
  while (done_.size() > kResultsKept) done_.erase(done_.begin());
  last_done_ = std::max(last_done_, sequence);
  return Record(DoneRecord(sequence, done));
}

std::optional<SessionState::Done> SessionState::DoneBefore(uint64_t sequence) const {
  const auto found = done_.find(sequence);
  if (found == done_.end()) return std::nullopt;
  return found->second;
}

void SessionState::Leave(uint64_t inode, const Left& left) {
  left_[inode] = left;
  if (auto noted = Record(LeftRecord(inode, left)); !noted) {
    spdlog::error("{}", noted.error().ToString());
  }
}

const Left* SessionState::LeftOf(uint64_t inode) const {
  const auto found = left_.find(inode);
  return found == left_.end() ? nullptr : &found->second;
}

}  // namespace airstore::broker::v1
