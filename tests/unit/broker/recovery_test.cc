// SPDX-License-Identifier: Apache-2.0
#include "broker/recovery.h"

#include <gtest/gtest.h>

#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "broker/session_journal.h"
#include "tests/unit/broker/log_life.h"

namespace airstore::broker {
namespace {

std::string TextOf(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class RecoveryTest : public testing::Test {
 protected:
  RecoveryTest() {
    std::filesystem::create_directories(spool_ + "/content");
    journal_ = std::move(*SessionJournal::Create(JournalDirectory(spool_), {}));
  }
  // The broker that wrote it is dead by now.
  bool Recover() {
    journal_.reset();
    Recovery recovery(
        loop_.get_executor(), &workers_, spool_, manifest_,
        [this](const std::string&, const std::string&) {
          Outcome<std::shared_ptr<Gateway>> made;
          made.value = gateway_;
          return made;
        },
        &budget_);
    recovery.Start();
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!recovery.done() && std::chrono::steady_clock::now() < end) {
      loop_.run_one_for(std::chrono::seconds(1));
      if (loop_.stopped()) break;
    }
    return recovery.done();
  }

  TempDir temp_;
  const std::string spool_ = temp_ / "spool/s";
  SessionManifest manifest_;
  std::shared_ptr<OnceGateway> gateway_ = std::make_shared<OnceGateway>();
  boost::asio::io_context loop_{1};
  boost::asio::thread_pool workers_{1};
  SpoolBudget budget_{loop_.get_executor(), temp_.path(), temp_ / "reserve", {}};
  std::unique_ptr<SessionJournal> journal_;
};

TEST_F(RecoveryTest, KeepsWhatCannotBeReadAlsoWhenThatWasBegunBefore) {
  manifest_.store_dir = temp_ / "store";
  const std::string content = ContentDirectory(spool_, manifest_.store_dir, manifest_.session);
  std::filesystem::create_directories(content);
  std::ofstream(content + "/1") << "all of it";
  std::ofstream(content + "/2") << "another";
  temp_.Write("spool/s/content/1", "all");
  std::ofstream(JournalDirectory(spool_) + "/unreadable-7") << "?";
  ASSERT_TRUE(Recover());
  const std::string kept = temp_ / "spool/lost+found/s.unread/content";
  EXPECT_EQ(TextOf(kept + "/1"), "all of it");
  EXPECT_EQ(TextOf(kept + "/2"), "another");
  EXPECT_FALSE(std::filesystem::exists(spool_));
  EXPECT_FALSE(std::filesystem::exists(content));
}

}  // namespace
}  // namespace airstore::broker
