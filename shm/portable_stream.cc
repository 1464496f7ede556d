// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "shm/portable.h"

namespace airstore::shm {
namespace {

constexpr size_t kChunk = 1u << 20;
// Longer ones nobody writes: a slot's texts, a write's payload.
constexpr uint32_t kMostWords = 1024;
constexpr uint32_t kMostText = 2u << 20;

size_t Padded(size_t bytes) { return (bytes + 7) / 8 * 8; }

XXH3_state_t* NewSum() {
  XXH3_state_t* sum = XXH3_createState();
  AIRSTORE_CHECK(sum != nullptr);
  XXH3_64bits_reset(sum);
  return sum;
}

}  // namespace

PortableWriter::PortableWriter(int file) : file_(file), sum_(NewSum()) {}
PortableWriter::~PortableWriter() { XXH3_freeState(sum_); }

void PortableWriter::Flush() {
  for (size_t done = 0; done < buffer_.size() && error_ == 0;) {
    const ssize_t wrote = write(file_, buffer_.data() + done, buffer_.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) error_ = errno;
    done += wrote < 0 ? 0 : static_cast<size_t>(wrote);
  }
  buffer_.clear();
}

void PortableWriter::Append(const void* bytes, size_t count) {
  XXH3_64bits_update(sum_, bytes, count);
  buffer_.append(static_cast<const char*>(bytes), count);
}

void PortableWriter::Put(PortableKind kind, std::span<const uint64_t> words,
                         std::string_view text) {
  const PortableHead head{static_cast<uint32_t>(kind), static_cast<uint32_t>(words.size()),
                          static_cast<uint32_t>(text.size()), 0};
  Append(&head, sizeof(head));
  Append(words.data(), words.size_bytes());
  Append(text.data(), text.size());
  constexpr char kZeros[8] = {};
  Append(kZeros, Padded(text.size()) - text.size());
  if (buffer_.size() >= kChunk) Flush();
}

Result<void> PortableWriter::Finish() {
  const uint64_t sum = XXH3_64bits_digest(sum_);
  Put(PortableKind::kEnd, {&sum, 1});
  Flush();
  if (error_ != 0) return SysError("write what is handed over", error_);
  return {};
}

PortableReader::PortableReader(int file) : file_(file), sum_(NewSum()) {}
PortableReader::~PortableReader() { XXH3_freeState(sum_); }

Result<void> PortableReader::Take(void* to, size_t bytes) {
  auto* out = static_cast<char*>(to);
  while (bytes != 0) {
    if (at_ == buffer_.size()) {
      buffer_.resize(kChunk);
      const ssize_t got = pread(file_, buffer_.data(), kChunk, static_cast<off_t>(offset_));
      buffer_.resize(got > 0 ? static_cast<size_t>(got) : 0);
      at_ = 0;
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return SysError("read what is handed over");
      if (got == 0) return Error{EPROTO, "what is handed over is cut short"};
      offset_ += static_cast<uint64_t>(got);
    }
    const size_t part = std::min(bytes, buffer_.size() - at_);
    memcpy(out, buffer_.data() + at_, part);
    at_ += part;
    out += part;
    bytes -= part;
  }
  return {};
}

Result<bool> PortableReader::Next(PortableRecord* record) {
  const uint64_t sum = XXH3_64bits_digest(sum_);
  PortableHead head{};
  AIRSTORE_TRY(Take(&head, sizeof(head)));
  if (head.kind == 0 || head.words > kMostWords || head.text_bytes > kMostText) {
    return Error{EPROTO, "what is handed over has an impossible record"};
  }
  record->kind = static_cast<PortableKind>(head.kind);
  record->words.resize(head.words);
  AIRSTORE_TRY(Take(record->words.data(), head.words * sizeof(uint64_t)));
  record->text.resize(Padded(head.text_bytes));
  AIRSTORE_TRY(Take(record->text.data(), record->text.size()));
  XXH3_64bits_update(sum_, &head, sizeof(head));
  XXH3_64bits_update(sum_, record->words.data(), head.words * sizeof(uint64_t));
  XXH3_64bits_update(sum_, record->text.data(), record->text.size());
  record->text.resize(head.text_bytes);
  if (record->kind != PortableKind::kEnd) return true;
  if (record->word(0) != sum) return Error{EPROTO, "what is handed over is damaged"};
  return false;
}

}  // namespace airstore::shm
