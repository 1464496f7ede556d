// SPDX-License-Identifier: Apache-2.0
#include "broker/journal_segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

namespace airstore::broker {
namespace {

constexpr uint64_t kMagic = 0x6c6e726a73726961;  // "airsjrnl" in memory order
// Of what is written. Each version only adds types of records, so older ones are read as they are.
constexpr uint32_t kVersion = 3;
constexpr uint32_t kOldestVersion = 2;
constexpr uint64_t kAlign = 8;

struct SegmentHead {
  uint64_t magic;
  uint32_t version;
  uint32_t reserved;
  uint8_t session[16];
  uint64_t number;
  uint64_t first_lsn;
  uint64_t reserved_tail;
  uint64_t checksum;  // of all before it
};
static_assert(sizeof(SegmentHead) == 64);

struct RecordHead {
  uint64_t checksum;  // of all behind it
  uint32_t bytes;     // of head and payload; 0: the end
  uint16_t type;
  uint16_t reserved;
  uint64_t lsn;
};
static_assert(sizeof(RecordHead) == 24);

uint64_t Aligned(uint64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

// A void head behind the last record says that there is no next one.
constexpr uint64_t kEndMark = sizeof(RecordHead);

uint64_t Seed(const SegmentHead& head) {
  return XXH3_64bits(head.session, sizeof(head.session)) ^ (head.number * 0x9e3779b97f4a7c15);
}

uint64_t Checksum(const uint8_t* record, uint64_t bytes, uint64_t seed) {
  constexpr size_t kFrom = offsetof(RecordHead, bytes);
  return XXH3_64bits_withSeed(record + kFrom, bytes - kFrom, seed);
}

}  // namespace

JournalSegment::JournalSegment(UniqueFd fd, uint8_t* base, uint64_t bytes)
    : fd_(std::move(fd)), base_(base), bytes_(bytes), end_(bytes) {}

JournalSegment::~JournalSegment() { munmap(base_, bytes_); }

Result<std::unique_ptr<JournalSegment>> JournalSegment::Map(UniqueFd fd, uint64_t bytes,
                                                            const std::string& path) {
  void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (base == MAP_FAILED) return SysError("map " + path);
  return std::unique_ptr<JournalSegment>(
      new JournalSegment(std::move(fd), static_cast<uint8_t*>(base), bytes));
}

Result<std::unique_ptr<JournalSegment>> JournalSegment::Create(const std::string& path,
                                                               uint64_t bytes) {
  UniqueFd fd(
      open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR));
  if (!fd) return SysError("create " + path);
  // Every block now: a store to the map must never need one that is not there.
  const int error = posix_fallocate(fd.get(), 0, static_cast<off_t>(bytes));
  if (error != 0) {
    unlink(path.c_str());
    return SysError("allocate " + path, error);
  }
  return Map(std::move(fd), bytes, path);
}

Result<std::unique_ptr<JournalSegment>> JournalSegment::Open(const std::string& path,
                                                             const shm::SessionId& session,
                                                             uint64_t number) {
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return SysError("open " + path);
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) return SysError("stat " + path);
  const auto bytes = static_cast<uint64_t>(info.st_size);
  if (bytes < sizeof(SegmentHead)) return Error{EPROTO, path + " is too short for a journal"};
  auto segment = Map(std::move(fd), bytes, path);
  if (!segment) return segment.error();
  SegmentHead head;
  std::memcpy(&head, (*segment)->base_, sizeof(head));
  const bool whole =
      head.magic == kMagic && head.checksum == XXH3_64bits(&head, offsetof(SegmentHead, checksum));
  if (whole && (head.version < kOldestVersion || head.version > kVersion)) {
    return Error{EPROTONOSUPPORT, path + " has format " + std::to_string(head.version) +
                                      ", airstored " AIRSTORE_VERSION " reads " +
                                      std::to_string(kOldestVersion) + " to " +
                                      std::to_string(kVersion) +
                                      ": start the airstored that wrote it once more, and unmount"};
  }
  if (!whole || head.number != number ||
      std::memcmp(head.session, session.data(), session.size()) != 0) {
    return Error{EPROTO, path + " is not the journal it should be"};
  }
  (*segment)->seed_ = Seed(head);
  return segment;
}

bool JournalSegment::IsBlank(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat info {};
  if (!fd || fstat(fd.get(), &info) != 0 || info.st_size == 0) return false;
  std::vector<uint8_t> piece(64 << 10);
  for (off_t at = 0;; at += static_cast<off_t>(piece.size())) {
    const ssize_t got = pread(fd.get(), piece.data(), piece.size(), at);
    if (got < 0) return false;
    if (std::any_of(piece.begin(), piece.begin() + got, [](uint8_t byte) { return byte != 0; })) {
      return false;
    }
    if (got < static_cast<ssize_t>(piece.size())) return true;
  }
}

void JournalSegment::Format(const shm::SessionId& session, uint64_t number, uint64_t first_lsn) {
  SegmentHead head{};
  head.magic = kMagic;
  head.version = kVersion;
  std::memcpy(head.session, session.data(), session.size());
  head.number = number;
  head.first_lsn = first_lsn;
  head.checksum = XXH3_64bits(&head, offsetof(SegmentHead, checksum));
  CutTo(sizeof(head));
  std::memcpy(base_, &head, sizeof(head));
  seed_ = Seed(head);
}

uint64_t JournalSegment::first_lsn() const {
  SegmentHead head;
  std::memcpy(&head, base_, sizeof(head));
  return head.first_lsn;
}

uint64_t JournalSegment::RecordBytes(uint64_t payload_bytes) {
  return Aligned(sizeof(RecordHead) + payload_bytes);
}

uint64_t JournalSegment::MaxPayload(uint64_t segment_bytes) {
  return segment_bytes - sizeof(SegmentHead) - sizeof(RecordHead) - kAlign;
}

uint64_t JournalSegment::FirstOffset() { return sizeof(SegmentHead); }

const uint8_t* JournalSegment::Append(uint64_t lsn, uint16_t type,
                                      std::span<const uint8_t> payload) {
  const uint64_t at = end_;
  RecordHead head{};
  head.bytes = static_cast<uint32_t>(sizeof(head) + payload.size());
  head.type = type;
  head.lsn = lsn;
  uint8_t* to = base_ + at;
  CutTo(at + Aligned(head.bytes));
  if (!payload.empty()) std::memcpy(to + sizeof(head), payload.data(), payload.size());
  std::memcpy(to, &head, sizeof(head));
  head.checksum = Checksum(to, head.bytes, seed_);
  std::memcpy(to, &head.checksum, sizeof(head.checksum));
  return to + sizeof(head);
}

void JournalSegment::CutTo(uint64_t end) {
  end_ = end;
  std::memset(base_ + end, 0, std::min(kEndMark, bytes_ - end));
}

std::optional<JournalRecord> JournalSegment::Next(uint64_t* offset, uint64_t lsn) const {
  const uint64_t at = *offset;
  if (at > bytes_ || bytes_ - at < sizeof(RecordHead)) return std::nullopt;
  RecordHead head;
  std::memcpy(&head, base_ + at, sizeof(head));
  if (head.bytes < sizeof(head) || head.bytes > bytes_ - at || head.lsn != lsn ||
      head.checksum != Checksum(base_ + at, head.bytes, seed_)) {
    return std::nullopt;
  }
  *offset = std::min(at + Aligned(head.bytes), bytes_);
  return JournalRecord{
      .lsn = head.lsn,
      .type = head.type,
      .payload = {base_ + at + sizeof(head), static_cast<size_t>(head.bytes - sizeof(head))}};
}

bool JournalSegment::EndsAt(uint64_t offset) const {
  for (uint64_t at = offset; at < std::min(offset + kEndMark, bytes_); ++at) {
    if (base_[at] != 0) return false;
  }
  return true;
}

}  // namespace airstore::broker
