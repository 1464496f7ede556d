// SPDX-License-Identifier: Apache-2.0
//
// Records appended to files, a new file every now and then; some synced, with the names they have.
// Log: s FILE RECORD before, w FILE RECORD after a write; c FILE: it has its name; f FILE RECORD:
// fsync returned; d FILE: and that of the directory, so the name is durable too.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>

#include "shm/base/fd.h"
#include "tests/e2e/support/files.h"
#include "tests/fault/ack_log.h"

namespace airstore::fault {
namespace {

constexpr uint64_t kRecords = 25;  // of a file

std::string RecordOf(uint64_t seed, uint64_t number) {
  const uint64_t kind = (seed + number) % 16;
  const size_t length = kind == 0 ? 120'000 : 16 + (seed * 31 + number * 977) % 3000;
  return e2e::RandomBytes(seed * 7'000'003 + number, length);
}

std::string NameOf(const std::string& directory, uint64_t file) {
  return directory + "/m" + std::to_string(file);
}

std::string Words(const char* event, uint64_t file, uint64_t record) {
  return std::string(event) + " " + std::to_string(file) + " " + std::to_string(record);
}

bool WriteFile(AckLog& log, const LoadOrder& order, uint64_t number, std::mt19937_64& random) {
  const std::string name = NameOf(order.directory, number);
  const std::string temporary = name + ".new";
  const int append = random() % 2 == 0 ? O_APPEND : 0;
  UniqueFd file(open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | append, 0644));
  if (!file) return log.Fail("create");
  bool named = false;
  for (uint64_t record = 0; record < kRecords && !log.over(); ++record) {
    const std::string bytes = RecordOf(order.seed, number * kRecords + record);
    log.Line(Words("s", number, record));
    if (!log.Write(file.get(), bytes)) return false;
    if (named && !log.Ack(Words("w", number, record))) return false;
    if (!named) {
      if (rename(temporary.c_str(), name.c_str()) != 0) return log.Fail("rename");
      if (!log.Ack("c " + std::to_string(number))) return false;
      if (!log.Ack(Words("w", number, record))) return false;
      named = true;
    }
    if (random() % 6 == 0) {
      if (fsync(file.get()) != 0) return log.Fail("fsync");
      if (!log.Ack(Words("f", number, record))) return false;
    }
    if (random() % 12 == 0) {
      const UniqueFd directory(open(order.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (!directory) return log.Fail("open directory");
      if (fsync(directory.get()) != 0) return log.Fail("fsync directory");
      if (!log.Ack("d " + std::to_string(number))) return false;
    }
    usleep(static_cast<useconds_t>(random() % 2000));
  }
  if (close(file.release()) != 0) return log.Fail("close");
  return true;
}

void Run(AckLog& log, const LoadOrder& order) {
  std::mt19937_64 random(order.seed);
  for (uint64_t number = 0; !log.over() && WriteFile(log, order, number, random); ++number) {
  }
}

struct Progress {
  bool named = false;
  bool durable_name = false;
  uint64_t written = 0;  // records
  uint64_t synced = 0;
};

std::string Check(const LogLines& lines, const std::string& directory, const LoadOrder& order,
                  Kept kept) {
  std::map<uint64_t, Progress> files;
  for (const auto& words : lines) {
    if (words.size() < 2 || words[0].size() != 1) continue;
    Progress& file = files[std::stoull(words[1])];
    if (words[0] == "c") file.named = true;
    if (words[0] == "d") file.durable_name = true;
    if (words[0] == "w") file.written = std::stoull(words.at(2)) + 1;
    if (words[0] == "f") file.synced = std::stoull(words.at(2)) + 1;
  }
  std::string wrong;
  for (const auto& [number, file] : files) {
    const bool expected = kept == Kept::kSynced ? file.durable_name : file.named;
    if (!expected) continue;
    const std::string name = NameOf(directory, number);
    if (!e2e::Exists(name)) {
      wrong += name + " is not there\n";
      continue;
    }
    std::string content;
    const uint64_t records = kept == Kept::kSynced ? file.synced : file.written;
    for (uint64_t record = 0; record < records; ++record) {
      content += RecordOf(order.seed, number * kRecords + record);
    }
    const std::string found = e2e::ReadFile(name);
    if (found.compare(0, content.size(), content) != 0) {
      const auto at = std::mismatch(found.begin(), found.end(), content.begin(), content.end());
      wrong += name + " of " + std::to_string(found.size()) + " bytes differs at " +
               std::to_string(at.first - found.begin()) + " of " + std::to_string(content.size()) +
               "\n";
    }
  }
  return wrong;
}

}  // namespace

const LoadProgram kManifestProgram{Run, Check};

}  // namespace airstore::fault
