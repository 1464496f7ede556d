// SPDX-License-Identifier: Apache-2.0
#include "frontends/nfs/duplicate_requests.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

namespace airstore::nfs {
namespace {

class DuplicateRequestsTest : public testing::Test {
 protected:
  // What was answered before; "new" when nothing was.
  std::string Begin(uint64_t unique) {
    std::array<char, DuplicateRequests::kReplyBytes> reply;
    size_t bytes = 0;
    if (requests_.Begin(unique, &reply, &bytes)) return "new";
    return {reply.data(), bytes};
  }
  void Finish(uint64_t unique, const std::string& reply) { requests_.Finish(unique, reply); }

  DuplicateRequests requests_;
};

TEST_F(DuplicateRequestsTest, AreAnsweredOnce) {
  EXPECT_EQ(Begin(1), "new");
  Finish(1, "one");
  EXPECT_EQ(Begin(2), "new");
  Finish(2, "two");
  EXPECT_EQ(Begin(1), "one");
  EXPECT_EQ(Begin(2), "two");
}

TEST_F(DuplicateRequestsTest, AreForgottenInTheirOrder) {
  for (uint64_t unique = 1; unique <= DuplicateRequests::kRequests + 1; ++unique) {
    EXPECT_EQ(Begin(unique), "new");
    Finish(unique, std::to_string(unique));
  }
  EXPECT_EQ(Begin(2), "2");
  EXPECT_EQ(Begin(1), "new");
  Finish(1, "again");
}

TEST_F(DuplicateRequestsTest, WaitForTheFirstOne) {
  EXPECT_EQ(Begin(1), "new");
  std::string second;
  std::thread other([&] { second = Begin(1); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  Finish(1, "done");
  other.join();
  EXPECT_EQ(second, "done");
}

TEST_F(DuplicateRequestsTest, DoNotKeepLongReplies) {
  EXPECT_EQ(Begin(1), "new");
  Finish(1, std::string(DuplicateRequests::kReplyBytes + 1, 'x'));
  EXPECT_EQ(Begin(1), "new");
  Finish(1, std::string(DuplicateRequests::kReplyBytes, 'x'));
  EXPECT_EQ(Begin(1).size(), DuplicateRequests::kReplyBytes);
}

}  // namespace
}  // namespace airstore::nfs
