// SPDX-License-Identifier: Apache-2.0
//
// Listings, also while they change.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <functional>
#include <map>
#include <set>
#include <thread>
#include <utility>

#include "fake_broker.h"

namespace airstore::testing {
namespace {

using volume::DirEntry;
using volume::Listing;

constexpr uint64_t kDirectory = 100;

class NameSink final : public volume::DirSink {
 public:
  explicit NameSink(size_t room) : room_(room) {}
  bool Fits(size_t) override { return room_ > 0; }
  void Add(const DirEntry& entry) override {
    --room_;
    if (entry.name == "a" && after_a) after_a();
    names.emplace_back(entry.name);
    offset = entry.offset;
    if (entry.node != nullptr) nodes.insert(entry.inode);
  }
  std::function<void()> after_a;  // when the walk has read "a" and not yet what follows
  std::vector<std::string> names;
  std::set<uint64_t> nodes;
  uint64_t offset = 0;

 private:
  size_t room_;
};

// Lists all, `room` names at a time.
std::vector<std::string> List(FakeBroker* broker, size_t room) {
  PlainRequest request;
  // As kernels do.
  volume::Node node;
  EXPECT_EQ(0, broker->volume().Lookup(request, shm::kRootInode, "d", &node));
  std::vector<std::string> names;
  const uint64_t handle = broker->volume().Opendir(kDirectory);
  uint64_t offset = 0;
  for (;;) {
    NameSink sink(room);
    EXPECT_EQ(0,
              broker->volume().Readdir(request, kDirectory, handle, offset, Listing::kNames, sink));
    if (sink.names.empty()) return names;
    names.insert(names.end(), sink.names.begin(), sink.names.end());
    offset = sink.offset;
  }
}

TEST(VolumeReaddir, ListsInPiecesWithoutTheBroker) {
  FakeBroker broker;
  broker.AddDirectory(kDirectory, shm::kRootInode, "d");
  std::vector<std::string> expected{".", ".."};
  for (uint64_t i = 0; i < 20; ++i) {
    expected.push_back("file" + std::to_string(i));
    broker.AddFile(200 + i, kDirectory, expected.back());
  }
  const uint64_t popped = broker.Popped();
  for (const size_t room : {1u, 3u, 100u}) EXPECT_EQ(expected, List(&broker, room));
  EXPECT_EQ(popped, broker.Popped());
}

TEST(VolumeReaddir, NegativeEntriesAreNotListed) {
  FakeBroker broker;
  broker.AddDirectory(kDirectory, shm::kRootInode, "d");
  broker.Do([&] { ASSERT_TRUE(broker.meta().AddDentry(kDirectory, "none", 0, 0)); });
  EXPECT_EQ((std::vector<std::string>{".", ".."}), List(&broker, 10));
}

TEST(VolumeReaddir, IncompleteListingIsLoadedFirst) {
  FakeBroker broker;
  const uint32_t index = broker.AddDirectory(kDirectory, shm::kRootInode, "d");
  broker.AddFile(200, kDirectory, "a");
  broker.Change(kDirectory,
                [](shm::InodeRecord* record) { record->flags &= ~shm::kListingComplete; });
  broker.OnCall([&](const shm::Call&, shm::RequestReply* reply) {
    shm::InodeRecord record = broker.meta().Inode(index);
    record.flags |= shm::kListingComplete;
    broker.meta().UpdateInode(index, record);
    reply->attr = record;
    return true;
  });
  EXPECT_EQ((std::vector<std::string>{".", "..", "a"}), List(&broker, 10));
  EXPECT_EQ(1u, broker.CallsOf(shm::Op::kLoadListing));
}

// The broker lets names of what is open keep their places.
TEST(VolumeReaddir, OpenDirectoriesAreCounted) {
  FakeBroker broker;
  const uint32_t index = broker.AddDirectory(kDirectory, shm::kRootInode, "d");
  (void)broker.volume().Opendir(kDirectory);
  (void)broker.volume().Opendir(kDirectory);
  EXPECT_EQ(broker.lane().Opens(index), 2u);
  for (int i = 0; i < 3; ++i) broker.volume().Releasedir(kDirectory);
  EXPECT_EQ(broker.lane().Opens(index), 0u);
}

TEST(VolumeReaddir, NodesAreCountedOnlyWhenTheyFit) {
  FakeBroker broker;
  broker.AddDirectory(kDirectory, shm::kRootInode, "d");
  const uint32_t a = broker.AddFile(200, kDirectory, "a");
  const uint32_t b = broker.AddFile(201, kDirectory, "b");
  PlainRequest request;
  NameSink sink(3);
  EXPECT_EQ(0, broker.volume().Readdir(request, kDirectory, broker.volume().Opendir(kDirectory), 0,
                                       Listing::kNodes, sink));
  EXPECT_EQ((std::vector<std::string>{".", "..", "a"}), sink.names);
  EXPECT_EQ(1u, broker.lane().Lookups(a));
  EXPECT_EQ(0u, broker.lane().Lookups(b));
}

TEST(VolumeReaddir, ChildrenUnknownHereAreAskedForOnce) {
  FakeBroker broker;
  broker.AddDirectory(kDirectory, shm::kRootInode, "d");
  for (uint64_t i = 0; i < 5; ++i) broker.AddFile(200 + i, kDirectory, std::to_string(i));
  for (uint64_t i = 0; i < 5; ++i) {
    broker.Change(200 + i, [](shm::InodeRecord* record) { record->known_by = 0; });
  }
  PlainRequest request;
  NameSink sink(100);
  const uint64_t handle = broker.volume().Opendir(kDirectory);
  EXPECT_EQ(0, broker.volume().Readdir(request, kDirectory, handle, 0, Listing::kNodes, sink));
  EXPECT_EQ(7u, sink.names.size());
  EXPECT_TRUE(sink.nodes.empty());
  EXPECT_EQ(1u, broker.CallsOf(shm::Op::kLoadListing));
}

TEST(VolumeReaddir, UnlinkingWhatWasListedSkipsNothing) {
  FakeBroker broker;
  broker.AddDirectory(kDirectory, shm::kRootInode, "d");
  for (uint64_t i = 0; i < 50; ++i) broker.AddFile(200 + i, kDirectory, std::to_string(i));
  PlainRequest request;
  const uint64_t handle = broker.volume().Opendir(kDirectory);
  uint64_t offset = 2;
  size_t seen = 0;
  for (;;) {
    NameSink sink(7);
    ASSERT_EQ(0,
              broker.volume().Readdir(request, kDirectory, handle, offset, Listing::kNames, sink));
    if (sink.names.empty()) break;
    seen += sink.names.size();
    offset = sink.offset;
    broker.Do([&] {
      for (const std::string& name : sink.names) {
        broker.meta().RemoveDentry(broker.meta().FindDentry(kDirectory, name));
      }
    });
  }
  EXPECT_EQ(50u, seen);
}

// Lists a directory of a, b, c while `change` happens between the reading of a and of b.
std::vector<std::string> ListAcross(FakeBroker* broker, const std::function<void()>& change) {
  broker->AddDirectory(kDirectory, shm::kRootInode, "d");
  for (const char* name : {"a", "b", "c"}) {
    broker->AddFile(200 + static_cast<uint64_t>(name[0]), kDirectory, name);
  }
  PlainRequest request;
  NameSink sink(100);
  sink.after_a = [&, once = false]() mutable {
    if (!std::exchange(once, true)) broker->Do(change);
  };
  EXPECT_EQ(0, broker->volume().Readdir(request, kDirectory, broker->volume().Opendir(kDirectory),
                                        2, Listing::kNames, sink));
  return sink.names;
}

TEST(VolumeReaddir, EntryReusedAtTheEndDoesNotHideThoseBetween) {
  FakeBroker broker;
  const auto names = ListAcross(&broker, [&] {
    const uint32_t b = broker.meta().FindDentry(kDirectory, "b");
    broker.meta().RemoveDentry(b);
    EXPECT_EQ(b, *broker.meta().AddDentry(kDirectory, "e", 200, S_IFREG >> 12));
  });
  EXPECT_EQ((std::vector<std::string>{"a", "c", "e"}), names);
}

TEST(VolumeReaddir, EntriesReusedInTheSameOrderDoNotHideThoseBefore) {
  FakeBroker broker;
  const auto names = ListAcross(&broker, [&] {
    const uint32_t a = broker.meta().FindDentry(kDirectory, "a");
    const uint32_t b = broker.meta().FindDentry(kDirectory, "b");
    const uint32_t c = broker.meta().FindDentry(kDirectory, "c");
    for (const uint32_t index : {b, a, c}) broker.meta().RemoveDentry(index);
    EXPECT_EQ(c, *broker.meta().AddDentry(kDirectory, "x", 200, S_IFREG >> 12));
    EXPECT_EQ(a, *broker.meta().AddDentry(kDirectory, "y", 200, S_IFREG >> 12));
    EXPECT_EQ(b, *broker.meta().AddDentry(kDirectory, "z", 200, S_IFREG >> 12));
  });
  EXPECT_EQ((std::vector<std::string>{"a", "x", "y", "z"}), names);
}

TEST(VolumeReaddir, WhatStaysIsListedExactlyOnceWhileOthersComeAndGo) {
  FakeBroker broker;
  broker.AddDirectory(kDirectory, shm::kRootInode, "d");
  constexpr int kStaying = 100;
  for (uint64_t i = 0; i < kStaying; ++i) {
    broker.AddFile(200 + i, kDirectory, "stays" + std::to_string(i));
    broker.AddFile(1000 + i, kDirectory, "goes" + std::to_string(i));
  }
  std::atomic<bool> stop{false};
  std::thread changer([&] {
    for (int round = 0; !stop; ++round) {
      const std::string name = "goes" + std::to_string(round * 7 % kStaying);
      broker.Do([&] {
        const uint32_t old = broker.meta().FindDentry(kDirectory, name);
        broker.meta().RemoveDentry(old);
        // Reuses the entry just freed, at the end of the same directory.
        AIRSTORE_CHECK(broker.meta().AddDentry(kDirectory, name, 1000, S_IFREG >> 12).has_value());
      });
    }
  });
  for (int round = 0; round < 300; ++round) {
    std::map<std::string, int> count;
    for (const std::string& name : List(&broker, 16)) ++count[name];
    for (int i = 0; i < kStaying; ++i) {
      ASSERT_EQ(1, count["stays" + std::to_string(i)]) << "stays" << i << ", round " << round;
    }
  }
  stop = true;
  changer.join();
}

}  // namespace
}  // namespace airstore::testing
