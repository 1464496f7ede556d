// SPDX-License-Identifier: Apache-2.0
//
// A broker finds a journal that it cannot read: of another version of airstored, or damaged. What
// the journal is about is never thrown away.
#include <gtest/gtest.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

#include "tests/e2e/support/host_test.h"

namespace airstore::fault {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

class JournalFormat : public e2e::MountTest {
 protected:
  // Leaves a file that no gateway has, in a journal that nobody serves.
  void LeaveUnsent() {
    EXPECT_EQ(e2e::NamesIn(mount()).size(), 0u);
    host().FreezeGateway();
    e2e::WriteFile(At("unsent"), content_);
    host().KillBrokerAndMounts();
    host().ThawGateway();
  }
  std::vector<fs::path> Segments() {
    std::vector<fs::path> paths;
    for (const auto& entry : fs::recursive_directory_iterator(host().Path("state/spool"))) {
      if (entry.path().filename().string().rfind("segment-", 0) == 0) paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());
    return paths;
  }
  static void SetVersion(const fs::path& segment, uint32_t version) {
    constexpr size_t kVersionAt = 8;
    constexpr size_t kChecksumAt = 56;
    std::string head(kChecksumAt, '\0');
    std::fstream file(segment, std::ios::in | std::ios::out | std::ios::binary);
    file.read(head.data(), kChecksumAt);
    std::memcpy(head.data() + kVersionAt, &version, sizeof(version));
    const uint64_t checksum = XXH3_64bits(head.data(), kChecksumAt);
    head.append(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
    file.seekp(0);
    file.write(head.data(), static_cast<std::streamsize>(head.size()));
  }
  bool Recovered() { return host().Status().at("sessions").empty(); }

  const std::string content_ = e2e::RandomBytes(1, 300'000);
};

TEST_F(JournalFormat, OfANewerVersionIsLeftToIt) {
  LeaveUnsent();
  for (const auto& segment : Segments()) SetVersion(segment, 9);
  host().StartBroker();
  ASSERT_TRUE(e2e::WaitUntil(seconds(10), [&] {
    const nlohmann::json session = host().SessionStatus("work");
    return session.at("last_error").get<std::string>().find("has format 9") != std::string::npos;
  })) << host().Status();
  EXPECT_EQ(host().SessionStatus("work").at("state"), "recovering");
  host().KillBroker();
  for (const auto& segment : Segments()) SetVersion(segment, 3);
  host().StartBroker();
  EXPECT_TRUE(e2e::WaitUntil(seconds(30), [&] { return Recovered(); }));
  EXPECT_TRUE(e2e::ReadFile(host().Mount("work", "again") + "/unsent") == content_);
}

TEST_F(JournalFormat, WhatADamagedOneIsAboutIsKept) {
  LeaveUnsent();
  for (const auto& segment : Segments()) std::ofstream(segment, std::ios::binary) << "damaged";
  host().StartBroker();
  ASSERT_TRUE(e2e::WaitUntil(seconds(30), [&] { return Recovered(); }));
  const nlohmann::json items = host().AirctlJson({"recover"}).at("items");
  ASSERT_EQ(items.size(), 1u);
  EXPECT_EQ(items[0].at("what"), "leftover");
  bool found = false;
  const std::string kept = host().Path("state/spool/lost+found");
  for (const auto& entry : fs::recursive_directory_iterator(kept)) {
    found = found || (entry.is_regular_file() && entry.file_size() == content_.size() &&
                      e2e::ReadFile(entry.path()) == content_);
    EXPECT_NE(entry.path().filename(), "session.json");
  }
  EXPECT_TRUE(found);
}

}  // namespace
}  // namespace airstore::fault
