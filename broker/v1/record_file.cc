// SPDX-License-Identifier: Apache-2.0
#include "broker/v1/record_file.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <array>
#include <cerrno>

namespace airstore::broker::v1 {
namespace {

constexpr uint32_t kLongest = 1u << 20;

struct Head {
  uint32_t length = 0;
  uint32_t checksum = 0;
};

uint32_t Checksum(std::string_view record) {
  return static_cast<uint32_t>(XXH3_64bits(record.data(), record.size()));
}

void AddRecord(std::string_view record, std::string* to) {
  const Head head{static_cast<uint32_t>(record.size()), Checksum(record)};
  to->append(reinterpret_cast<const char*>(&head), sizeof head);
  to->append(record);
}

Result<void> WriteAll(int fd, std::string_view text, uint64_t offset) {
  while (!text.empty()) {
    const ssize_t done = pwrite(fd, text.data(), text.size(), static_cast<off_t>(offset));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return SysError("write the names of a session", done < 0 ? errno : ENOSPC);
    text.remove_prefix(static_cast<size_t>(done));
    offset += static_cast<uint64_t>(done);
  }
  return {};
}

}  // namespace

size_t ReadRecords(std::string_view text, const RecordFile::OnRecord& on_record) {
  size_t at = 0;
  while (text.size() - at >= sizeof(Head)) {
    Head head;
    memcpy(&head, text.data() + at, sizeof head);
    if (head.length > kLongest || text.size() - at - sizeof head < head.length) break;
    const std::string_view record = text.substr(at + sizeof head, head.length);
    if (Checksum(record) != head.checksum) break;
    on_record(record);
    at += sizeof head + head.length;
  }
  return at;
}

Result<RecordFile> RecordFile::Open(const std::string& path, const OnRecord& on_record) {
  UniqueFd file(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return SysError("open " + path);
  std::string text;
  std::array<char, 1u << 16> piece;
  for (;;) {
    const ssize_t got =
        pread(file.get(), piece.data(), piece.size(), static_cast<off_t>(text.size()));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return SysError("read " + path);
    if (got == 0) break;
    text.append(piece.data(), static_cast<size_t>(got));
  }
  const size_t sound = ReadRecords(text, on_record);
  if (ftruncate(file.get(), static_cast<off_t>(sound)) != 0) return SysError("cut " + path);
  return RecordFile(std::move(file), sound);
}

Result<RecordFile> RecordFile::Write(const std::string& path,
                                     const std::vector<std::string>& records) {
  const std::string fresh = path + ".new";
  UniqueFd file(open(fresh.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return SysError("create " + fresh);
  std::string text;
  for (const std::string& record : records) AddRecord(record, &text);
  AIRSTORE_TRY(WriteAll(file.get(), text, 0));
  if (rename(fresh.c_str(), path.c_str()) != 0) return SysError("rename " + fresh);
  return RecordFile(std::move(file), text.size());
}

Result<void> RecordFile::Append(std::string_view record) {
  if (record.size() > kLongest) return Error{EMSGSIZE, "a record of a session's names"};
  std::string text;
  AddRecord(record, &text);
  AIRSTORE_TRY(WriteAll(file_.get(), text, bytes_));
  bytes_ += text.size();
  return {};
}

}  // namespace airstore::broker::v1
