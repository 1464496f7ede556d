// SPDX-License-Identifier: Apache-2.0
//
// Records appended to one file by several threads on several mounts: each stays whole, none covers
// another, and those of one thread stay in order.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <thread>

#include "tests/e2e/support/host_test.h"

namespace airstore::model {
namespace {

struct Record {
  uint32_t writer;
  uint32_t number;
  char filling[92];
};

class Appends : public e2e::MountTest {
 protected:
  static void Append(const std::string& path, uint32_t writer, uint32_t count, bool reopen,
                     int flags = 0) {
    UniqueFd file = e2e::Open(path, O_WRONLY | O_APPEND | flags);
    for (uint32_t number = 0; number < count; ++number) {
      if (reopen && number % 16 == 15) file = e2e::Open(path, O_WRONLY | O_APPEND | flags);
      Record record{writer, number, {}};
      memset(record.filling, static_cast<int>(1 + number % 100), sizeof record.filling);
      ASSERT_EQ(write(file.get(), &record, sizeof record), static_cast<ssize_t>(sizeof record));
    }
  }
  // What is in the file may be incomplete, but it is whole records without gaps. `growing`: of the
  // last one, which the kernel copies page by page, a reader may see the beginning only.
  static size_t Check(const std::string& content, std::vector<uint32_t>* next,
                      bool growing = false) {
    if (!growing) {
      EXPECT_EQ(content.size() % sizeof(Record), 0u);
    }
    for (size_t at = 0; at + sizeof(Record) <= content.size(); at += sizeof(Record)) {
      Record record{};
      memcpy(&record, content.data() + at, sizeof record);
      if (record.writer >= next->size() || record.number != (*next)[record.writer]++) {
        ADD_FAILURE() << "at " << at << " record " << record.number << " of " << record.writer;
        return 0;
      }
      for (const char byte : record.filling) {
        if (byte == static_cast<char>(1 + record.number % 100)) continue;
        ADD_FAILURE() << "at " << at << " a record is torn";
        return 0;
      }
    }
    return content.size() / sizeof(Record);
  }
};

TEST_F(Appends, OfSeveralMountsDoNotOverlap) {
  const auto count = static_cast<uint32_t>(e2e::EnvOr("AIRSTORE_APPENDS", 400));
  const std::vector<std::string> mounts{mount(), host().Mount("work", "second"),
                                        host().Mount("work", "third")};
  e2e::WriteFile(At("log"), "");
  std::vector<std::thread> threads;
  const uint32_t writers = 2 * static_cast<uint32_t>(mounts.size());
  for (uint32_t writer = 0; writer < writers; ++writer) {
    const std::string path = mounts[writer % mounts.size()] + "/log";
    threads.emplace_back([=] { Append(path, writer, count, writer % 2 == 0); });
  }
  std::map<std::string, size_t> seen;
  while (seen[mounts.back()] < size_t{writers} * count && !HasFailure()) {
    for (const std::string& one : mounts) {
      std::vector<uint32_t> next(writers);
      const size_t found = Check(e2e::ReadFile(one + "/log"), &next, true);
      EXPECT_GE(found, seen[one]) << one << " shows fewer than before";
      seen[one] = found;
    }
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_FALSE(HasFailure());
  host().Unmount(mounts[1]);
  host().Unmount(mounts[2]);
  RemountFresh();
  std::vector<uint32_t> next(writers);
  EXPECT_EQ(Check(e2e::ReadFile(At("log")), &next), size_t{writers} * count);
}

// The kernel of one mount appends to the content file itself and asks nobody; others go through
// their daemons.
TEST_F(Appends, ThroughTheKernelAndThroughDaemonsDoNotOverlap) {
  const auto count = static_cast<uint32_t>(e2e::EnvOr("AIRSTORE_APPENDS", 400));
  const std::string second = host().Mount("work", "second", {"--passthrough", "off"});
  const std::string third = host().Mount("work", "third");
  e2e::WriteFile(At("log"), "");
  std::vector<std::thread> threads;
  // First, or the kernel would not be let near a file that a daemon writes.
  UniqueFd held = e2e::Open(At("log"), O_WRONLY | O_APPEND);
  threads.emplace_back([=, this] { Append(At("log"), 0, 20 * count, false); });
  threads.emplace_back([=] { Append(second + "/log", 1, count, false); });
  threads.emplace_back([=] { Append(third + "/log", 2, count, false, O_DSYNC); });
  threads.emplace_back([=] { Append(second + "/log", 3, count, true); });
  for (std::thread& thread : threads) thread.join();
  held.reset();
  ASSERT_FALSE(HasFailure());
  std::vector<uint32_t> next(4);
  EXPECT_EQ(Check(e2e::ReadFile(At("log")), &next), size_t{23} * count);
  EXPECT_EQ(next, (std::vector<uint32_t>{20 * count, count, count, count}));
  host().Unmount(second);
  host().Unmount(third);
  RemountFresh();
  next.assign(4, 0);
  EXPECT_EQ(Check(e2e::ReadFile(At("log")), &next), size_t{23} * count);
}

}  // namespace
}  // namespace airstore::model
