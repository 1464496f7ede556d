// SPDX-License-Identifier: Apache-2.0
//
// Reading from slabs and content files while the broker moves content.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <optional>
#include <thread>

#include "fake_broker.h"

namespace airstore::testing {
namespace {

constexpr uint64_t kFile = 10;

int ReadInto(FakeBroker* broker, StringSink* sink, uint64_t offset, uint32_t size) {
  PlainRequest request;
  return broker->volume().Read(request, kFile, {}, offset, size, *sink);
}

// Gives the file a content file of that id, and serves its descriptor.
class ContentFile {
 public:
  ContentFile(FakeBroker* broker, uint64_t id, const std::string& content, bool complete)
      : broker_(broker), id_(id), fd_(memfd_create("content", MFD_CLOEXEC)) {
    EXPECT_EQ(static_cast<ssize_t>(content.size()),
              pwrite(fd_.get(), content.data(), content.size(), 0));
    broker->Change(kFile, [&](shm::InodeRecord* record) {
      record->content_kind = static_cast<uint32_t>(shm::ContentKind::kFile);
      record->content_file = id;
      record->size = content.size();
      record->flags =
          complete ? record->flags | shm::kContentComplete : record->flags & ~shm::kContentComplete;
    });
  }
  void Extend(uint64_t size) {
    EXPECT_EQ(ftruncate(fd_.get(), static_cast<off_t>(size)), 0);
    broker_->Change(kFile, [size](shm::InodeRecord* record) { record->size = size; });
  }
  void Answer(shm::RequestReply* reply) {
    broker_->volume().OnContent(id_, UniqueFd(dup(fd_.get())));
    reply->value = id_;
  }

 private:
  FakeBroker* broker_;
  uint64_t id_;
  UniqueFd fd_;
};

TEST(VolumeRead, SlabContentMakesNoQueueRecord) {
  FakeBroker broker;
  broker.AddFile(kFile, shm::kRootInode, "a");
  broker.SetContent(kFile, "hello world");
  const uint64_t popped = broker.Popped();
  StringSink sink;
  EXPECT_EQ(0, ReadInto(&broker, &sink, 6, 100));
  EXPECT_EQ("world", sink.bytes);
  EXPECT_EQ(1, sink.deliveries);
  EXPECT_EQ(popped, broker.Popped());
  EXPECT_EQ(5u, broker.Counter(shm::kReadBytes));
}

TEST(VolumeRead, BehindTheEndIsEmpty) {
  FakeBroker broker;
  broker.AddFile(kFile, shm::kRootInode, "a");
  broker.SetContent(kFile, "hello");
  StringSink sink;
  EXPECT_EQ(0, ReadInto(&broker, &sink, 5, 10));
  EXPECT_EQ(0, ReadInto(&broker, &sink, ~0ull, 10));
  EXPECT_EQ("", sink.bytes);
  EXPECT_EQ(2, sink.deliveries);
}

TEST(VolumeRead, SizeSetBeyondTheContentReadsAsZeros) {
  FakeBroker broker;
  broker.AddFile(kFile, shm::kRootInode, "a");
  broker.SetContent(kFile, "ab");
  broker.Change(kFile, [](shm::InodeRecord* record) { record->size = 5; });
  StringSink sink;
  EXPECT_EQ(0, ReadInto(&broker, &sink, 1, 100));
  EXPECT_EQ(std::string("b\0\0\0", 4), sink.bytes);
}

TEST(VolumeRead, SlabIsNeverTornWhileItIsReplaced) {
  FakeBroker broker;
  broker.AddFile(kFile, shm::kRootInode, "a");
  constexpr size_t kBytes = 4096;
  broker.SetContent(kFile, std::string(kBytes, 'a'));
  std::atomic<bool> stop{false};
  std::atomic<int> reads{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!stop) {
        StringSink sink;
        ASSERT_EQ(0, ReadInto(&broker, &sink, 0, kBytes));
        ASSERT_EQ(std::string(kBytes, sink.bytes.empty() ? '?' : sink.bytes[0]), sink.bytes);
        ++reads;
      }
    });
  }
  for (int round = 0; (round < 3000 || reads < 100) && !HasFailure(); ++round) {
    broker.SetContent(kFile, std::string(kBytes, static_cast<char>('a' + round % 26)));
    std::this_thread::yield();
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
}

TEST(VolumeRead, ExtentStaysWhileASinkHoldsIt) {
  FakeBroker broker;
  broker.AddFile(kFile, shm::kRootInode, "a");
  broker.AddFile(kFile + 1, shm::kRootInode, "b");
  broker.SetContent(kFile, std::string(1000, 'a'));
  // The broker replaces the content and fills the slab's free space while the bytes are in use.
  class SlowSink final : public volume::ReadSink {
   public:
    explicit SlowSink(FakeBroker* fake) : fake_(fake) {}
    void Deliver(const iovec* parts, int) override {
      fake_->SetContent(kFile, std::string(1000, 'b'));
      for (int i = 0; i < 100; ++i) fake_->SetContent(kFile + 1, std::string(1000, 'c'));
      bytes.assign(static_cast<const char*>(parts[0].iov_base), parts[0].iov_len);
    }
    std::string bytes;

   private:
    FakeBroker* fake_;
  };
  SlowSink sink(&broker);
  PlainRequest request;
  EXPECT_EQ(0, broker.volume().Read(request, kFile, {}, 0, 1000, sink));
  EXPECT_EQ(std::string(1000, 'a'), sink.bytes);
}

TEST(VolumeRead, ContentFileIsFetchedOnce) {
  FakeBroker broker;
  broker.AddFile(kFile, shm::kRootInode, "a");
  ContentFile content(&broker, 500, "file content", true);
  broker.OnCall([&](const shm::Call&, shm::RequestReply* reply) {
    content.Answer(reply);
    return true;
  });
  StringSink sink;
  EXPECT_EQ(0, ReadInto(&broker, &sink, 0, 4));
  EXPECT_EQ(0, ReadInto(&broker, &sink, 4, 100));
  EXPECT_EQ("file content", sink.bytes);
  EXPECT_EQ(1u, broker.CallsOf(shm::Op::kContentFd));
  EXPECT_EQ(0u, broker.CallsOf(shm::Op::kReadRange));
}

TEST(VolumeRead, IncompleteContentIsMadeValidFirst) {
  FakeBroker broker;
  const uint32_t index = broker.AddFile(kFile, shm::kRootInode, "a");
  ContentFile content(&broker, 500, "file content", false);
  broker.OnCall([&](const shm::Call& call, shm::RequestReply* reply) {
    if (static_cast<shm::Op>(call.args.op) == shm::Op::kContentFd) content.Answer(reply);
    reply->attr = broker.meta().Inode(index);
    return true;
  });
  StringSink sink;
  EXPECT_EQ(0, ReadInto(&broker, &sink, 5, 100));
  EXPECT_EQ("content", sink.bytes);
  EXPECT_EQ(1u, broker.CallsOf(shm::Op::kReadRange));
}

TEST(VolumeRead, ShortContentFileReadsAsZerosUpToTheSize) {
  FakeBroker broker;
  broker.AddFile(kFile, shm::kRootInode, "a");
  ContentFile content(&broker, 500, "ab", true);
  broker.Change(kFile, [](shm::InodeRecord* record) { record->size = 4; });
  broker.OnCall([&](const shm::Call&, shm::RequestReply* reply) {
    content.Answer(reply);
    return true;
  });
  StringSink sink;
  EXPECT_EQ(0, ReadInto(&broker, &sink, 0, 100));
  EXPECT_EQ(std::string("ab\0\0", 4), sink.bytes);
}

TEST(VolumeRead, FailureOfTheBrokerIsPassedOn) {
  FakeBroker broker;
  broker.AddFile(kFile, shm::kRootInode, "a");
  broker.Change(kFile, [](shm::InodeRecord* record) { record->size = 10; });
  broker.OnCall([](const shm::Call&, shm::RequestReply* reply) {
    reply->error = ETIMEDOUT;
    return true;
  });
  StringSink sink;
  EXPECT_EQ(ETIMEDOUT, ReadInto(&broker, &sink, 0, 10));
  EXPECT_EQ(0, sink.deliveries);
}

TEST(VolumeRead, ReadWaitsForQueuedWrites) {
  FakeBroker broker;
  broker.AddFile(kFile, shm::kRootInode, "a");
  broker.SetContent(kFile, "before");
  broker.HoldBack(true);
  const uint8_t byte = 'x';
  ASSERT_EQ(0, broker.volume().Write(kFile, 0, {&byte, 1}));
  std::atomic<bool> done{false};
  StringSink sink;
  std::thread reader([&] {
    EXPECT_EQ(0, ReadInto(&broker, &sink, 0, 100));
    done = true;
  });
  broker.SetContent(kFile, "after");
  EXPECT_FALSE(done);
  broker.HoldBack(false);
  broker.Do([] {});
  broker.Do([] {});
  reader.join();
  EXPECT_EQ("after", sink.bytes);
}

TEST(VolumeRead, LinkTargetComesFromTheSlab) {
  FakeBroker broker;
  broker.AddFile(kFile, shm::kRootInode, "link");
  broker.Change(kFile, [](shm::InodeRecord* record) { record->mode = S_IFLNK | 0777; });
  broker.SetContent(kFile, "../target");
  PlainRequest request;
  std::string target;
  const uint64_t popped = broker.Popped();
  EXPECT_EQ(0, broker.volume().Readlink(request, kFile, &target));
  EXPECT_EQ("../target", target);
  EXPECT_EQ(popped, broker.Popped());
}

// With no room left.
class ClosedGate : public ::testing::Test {
 protected:
  static constexpr uint64_t kId = 5;
  static constexpr size_t kPage = 4096;

  void SetUp() override {
    broker_.AddFile(kFile, shm::kRootInode, "a");
    broker_.OnCall([this](const shm::Call& call, shm::RequestReply* reply) {
      if (static_cast<shm::Op>(call.args.op) == shm::Op::kContentFd) content_->Answer(reply);
      return true;
    });
    broker_.Do([this] { broker_.lane().SetWriteGate(shm::kWriteGateClosed, 0, 1); });
  }
  void Fill(const std::string& content, uint64_t allocated) {
    content_.emplace(&broker_, kId, content, true);
    broker_.Change(kFile, [&](shm::InodeRecord* record) { record->allocated_bytes = allocated; });
  }
  int Admit(uint64_t offset, uint64_t bytes) {
    PlainRequest request;
    return broker_.volume().AwaitRoom(request, kFile, offset, bytes);
  }

  FakeBroker broker_;
  std::optional<ContentFile> content_;
};

TEST_F(ClosedGate, WhatIsWrittenInPlaceNeedsNoRoom) {
  Fill(std::string(4 * kPage, 'x'), 4 * kPage);
  EXPECT_EQ(Admit(kPage, kPage), 0);
  EXPECT_EQ(broker_.CallsOf(shm::Op::kContentFd), 0u);
  EXPECT_EQ(Admit(3 * kPage, 2 * kPage), ENOSPC) << "it grows";
}

TEST_F(ClosedGate, AFileOfWhichTooFewBlocksAreCountedIsLookedAt) {
  Fill(std::string(4 * kPage, 'x'), 2 * kPage);
  EXPECT_EQ(Admit(0, 4 * kPage), 0);
  EXPECT_EQ(Admit(3 * kPage, kPage), 0);
  EXPECT_EQ(broker_.CallsOf(shm::Op::kContentFd), 1u);
}

TEST_F(ClosedGate, AHoleNeedsRoom) {
  content_.emplace(&broker_, kId, std::string(kPage, 'x'), true);
  content_->Extend(8 * kPage);
  broker_.Change(kFile, [](shm::InodeRecord* record) { record->allocated_bytes = kPage; });
  EXPECT_EQ(Admit(0, kPage), 0);
  EXPECT_EQ(Admit(4 * kPage, kPage), ENOSPC);
  EXPECT_EQ(Admit(0, 2 * kPage), ENOSPC);
}

}  // namespace
}  // namespace airstore::testing
