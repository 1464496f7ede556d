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
  void Append(Ticket ticket, Mutation mutation, std::vector<uint64_t> subjects,
              uint64_t orphan = 0) {
    MutationRecord record;
    record.ticket = ticket;
    record.orphan = orphan;
    record.subjects = std::move(subjects);
    record.parents = {1};
    record.mutation = std::move(mutation);
    ASSERT_TRUE(journal_->Append(record));
  }
  // Of an unlink of what was never sent, when the broker died before the second record.
  void AppendHalfAnElision(uint64_t inode) {
    Append(1, Creation(inode), {inode});
    AttachedRecord attached;
    attached.inode = inode;
    attached.file = 1;
    attached.complete = attached.never_sent = attached.dirty = true;
    ASSERT_TRUE(journal_->Append(attached));
    temp_.Write("spool/s/content/1", "text");
    Mutation times;
    times.op = TouchOp{1};
    Append(2, times, {}, inode);
  }
  std::vector<uint64_t> Created() const {
    std::vector<uint64_t> created;
    for (const auto& [sequence, mutation] : gateway_->applied) {
      const auto* create = std::get_if<CreateOp>(&mutation.op);
      if (create != nullptr) created.push_back(create->inode);
    }
    return created;
  }
  bool Wrote() const {
    return std::any_of(gateway_->applied.begin(), gateway_->applied.end(), [](const auto& one) {
      return std::holds_alternative<WriteOp>(one.second.op);
    });
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

TEST_F(RecoveryTest, AFileThatWasNeverSentIsNotMadeWhenItsRemovalWasBegun) {
  AppendHalfAnElision(10);
  Append(3, Creation(11), {11});
  ASSERT_TRUE(Recover());
  EXPECT_EQ(Created(), std::vector<uint64_t>{11});
  EXPECT_FALSE(Wrote());
}

TEST_F(RecoveryTest, SuchAFileIsMadeWhenItHasANameAgain) {
  AppendHalfAnElision(10);
  Append(3, Creation(10), {10});
  ASSERT_TRUE(Recover());
  EXPECT_EQ(Created(), std::vector<uint64_t>{10});
  EXPECT_TRUE(Wrote());
}

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
