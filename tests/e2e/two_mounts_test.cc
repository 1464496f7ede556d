// SPDX-License-Identifier: Apache-2.0
//
// Two mounts of one workspace are one file system, at once, and cost the broker and the gateway
// nothing when what is asked for is here already.
#include "tests/e2e/two_mounts.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <random>
#include <thread>

namespace airstore::e2e {
namespace {

TEST_F(TwoMounts, SeeEachOthersWritesAtOnce) {
  WriteFile(At(0, "f"), "one");
  EXPECT_EQ(ReadFile(At(1, "f")), "one");
  WriteFile(At(1, "f"), "two, longer");
  EXPECT_EQ(ReadFile(At(0, "f")), "two, longer");
  EXPECT_EQ(Stat(At(0, "f")).st_size, 11);
  mkdir(At(0, "d").c_str(), 0700);
  EXPECT_EQ(NamesIn(mount(1)), (std::set<std::string>{"d", "f"}));
  ASSERT_EQ(rename(At(1, "f").c_str(), At(1, "d/g").c_str()), 0);
  EXPECT_FALSE(Exists(At(0, "f")));
  EXPECT_EQ(ReadFile(At(0, "d/g")), "two, longer");
  ASSERT_EQ(unlink(At(0, "d/g").c_str()), 0);
  EXPECT_FALSE(Exists(At(1, "d/g")));
  ASSERT_EQ(rmdir(At(1, "d").c_str()), 0);
  EXPECT_EQ(NamesIn(mount(0)), std::set<std::string>{});
}

TEST_F(TwoMounts, SeeWritesWhileBothHaveTheFileOpen) {
  for (const size_t size : {1000u, 300'000u}) {
    const std::string name = "f" + std::to_string(size);
    WriteFile(At(0, name), std::string(size, 'a'));
    const UniqueFd reader = Open(At(1, name), O_RDONLY);
    EXPECT_EQ(ReadSome(reader.get(), 2, 0), "aa");
    const UniqueFd writer = Open(At(0, name), O_RDWR);
    const UniqueFd other_writer = Open(At(1, name), O_RDWR);
    for (int i = 0; i < 200; ++i) {
      const std::string text = "round " + std::to_string(i) + ";";
      WriteAt((i % 2 == 0 ? writer : other_writer).get(), text, i);
      ASSERT_EQ(ReadSome(reader.get(), text.size(), i), text) << i;
      ASSERT_EQ(ReadSome((i % 2 == 0 ? other_writer : writer).get(), text.size(), i), text) << i;
    }
    WriteAt(writer.get(), "end", static_cast<off_t>(size) + 100);
    struct stat info {};
    ASSERT_EQ(fstat(reader.get(), &info), 0);
    EXPECT_EQ(info.st_size, static_cast<off_t>(size) + 103);
  }
}

TEST_F(TwoMounts, ShowMappedStoresToEachOther) {
  for (const size_t size : {8192u, 300'000u}) {
    const std::string name = "f" + std::to_string(size);
    WriteFile(At(0, name), std::string(size, 'a'));
    const UniqueFd file = Open(At(0, name), O_RDWR);
    auto* bytes =
        static_cast<char*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0));
    ASSERT_NE(static_cast<void*>(bytes), MAP_FAILED) << strerror(errno);
    EXPECT_EQ(ReadFile(At(1, name)), std::string(size, 'a'));
    bytes[5000] = 'b';
    ASSERT_EQ(msync(bytes, size, MS_SYNC), 0);
    EXPECT_EQ(ReadFile(At(1, name)).substr(4999, 3), "aba");
    munmap(bytes, size);
  }
}

TEST_F(TwoMounts, OfOtherWorkspacesSeeNothing) {
  WriteFile(At(0, "f"), "mine");
  mkdir(At(1, "d").c_str(), 0755);
  EXPECT_EQ(NamesIn(other()), std::set<std::string>{});
  WriteFile(other() + "/f", "theirs");
  EXPECT_EQ(ReadFile(At(0, "f")), "mine");
  EXPECT_EQ(ReadFile(At(1, "f")), "mine");
}

TEST_F(TwoMounts, SurviveChangesFromBothSidesInOneDirectory) {
  mkdir(At(0, "d").c_str(), 0777);
  const auto until = Now() + std::chrono::seconds(EnvOr("AIRSTORE_E2E_SECONDS", 4));
  std::atomic<uint64_t> done{0};
  std::atomic<int> odd{0};
  const auto work = [&](int side, unsigned seed) {
    std::mt19937 random(seed);
    const auto name = [&] { return At(side, "d/n" + std::to_string(random() % 60)); };
    // Those that follow from what the others do meanwhile.
    const auto expect = [&](int code) {
      constexpr std::array kExpected = {0, ENOENT, EEXIST, EISDIR, ENOTDIR, ENOTEMPTY, ESTALE};
      if (std::find(kExpected.begin(), kExpected.end(), code) == kExpected.end()) odd = code;
    };
    while (Now() < until) {
      switch (random() % 7) {
        case 0:
        case 1: {
          const UniqueFd file(open(name().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
          expect(file ? 0 : errno);
          if (file && random() % 2 == 0) (void)!pwrite(file.get(), "some text", 9, 0);
          break;
        }
        case 2:
          expect(ErrnoOf(unlink(name().c_str())));
          break;
        case 3:
          expect(ErrnoOf(rename(name().c_str(), name().c_str())));
          break;
        case 4:
          expect(ErrnoOf(mkdir(name().c_str(), 0755)));
          break;
        case 5:
          expect(ErrnoOf(rmdir(name().c_str())));
          break;
        default: {
          struct stat info {};
          expect(ErrnoOf(stat(name().c_str(), &info)));
          // A name that goes and comes meanwhile may be listed twice, as POSIX has it.
          std::error_code failed;
          if (random() % 10 == 0) {
            std::filesystem::directory_iterator at(At(side, "d"), failed);
            for (; !failed && at != std::filesystem::directory_iterator(); at.increment(failed)) {
            }
            expect(failed.value());
          }
        }
      }
      ++done;
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 8; ++i) threads.emplace_back(work, static_cast<int>(i % 2), i);
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(odd.load(), 0) << strerror(odd);
  RecordProperty("operations", std::to_string(done));
  const TreeEntries mine = Tree(mount(0));
  EXPECT_EQ(Difference(mine, Tree(mount(1))), "");
  host().Unmount(mount(1));
  host().RemountFresh("work", mount(0));
  EXPECT_EQ(Difference(mine, Tree(mount(0))), "");
}

// Files that only the gateway has, and their names.
std::vector<std::string> MakeFiles(const std::string& mount) {
  std::vector<std::string> names;
  for (int i = 0; i < 100; ++i) {
    names.push_back("small" + std::to_string(i));
    WriteFile(mount + "/" + names.back(), RandomBytes(static_cast<uint64_t>(i), 4000));
  }
  names.push_back("large");
  WriteFile(mount + "/large", RandomBytes(7, 20 << 20));
  return names;
}

TEST_F(TwoMounts, FetchNothingTwice) {
  const std::vector<std::string> names = MakeFiles(mount(0));
  host().Unmount(mount(1));
  host().Unmount(other());
  host().RemountFresh("work", mount(0));
  for (const auto& name : names) (void)ReadFile(At(0, name));
  const auto fetched = host().SessionStatus("work").at("fetched_bytes").get<uint64_t>();
  EXPECT_GE(fetched, 20u << 20);
  host().Mount("work", "mnt1");
  for (const auto& name : names) {
    EXPECT_TRUE(ReadFile(At(1, name)) == ReadFile(At(0, name))) << name;
  }
  EXPECT_EQ(host().SessionStatus("work").at("fetched_bytes").get<uint64_t>(), fetched);
}

TEST_F(TwoMounts, DoNotWakeTheBrokerForWhatIsHere) {
  const std::vector<std::string> names = MakeFiles(mount(0));
  host().Unmount(mount(1));
  host().Unmount(other());
  host().RemountFresh("work", mount(0));
  for (const auto& name : names) (void)ReadFile(At(0, name));
  (void)NamesIn(mount(0));
  host().Mount("work", "mnt1");
  const auto broker_wakes = [&] { return host().Status().at("broker").at("wakeups").get<int>(); };
  const auto mount_wakes = [&] {
    return host().MountStatus(mount(1)).at("counters").at("broker_wakes").get<int>();
  };
  // One call tells the broker that this mount wants to hear of changes; from then on the frontend
  // answers what its kernel, which has nothing yet, asks for.
  (void)NamesIn(mount(1));
  const auto begun = std::chrono::steady_clock::now();
  // The first read that is noted has the log of reads looked at, two seconds later at the earliest.
  const auto for_the_log = [&] {
    return 1 +
           static_cast<int>((std::chrono::steady_clock::now() - begun) / std::chrono::seconds(2));
  };
  const int before = broker_wakes();
  const int mount_before = mount_wakes();
  for (const auto& name : names) EXPECT_GT(Stat(At(1, name)).st_size, 0);
  EXPECT_EQ(mount_wakes(), mount_before) << "stat";
  for (const auto& name : names) {
    if (name != "large") (void)ReadFile(At(1, name));
  }
  EXPECT_LE(mount_wakes(), mount_before + for_the_log()) << "read";
  EXPECT_LE(broker_wakes(), before + for_the_log());
  // An open of a larger file asks who may pass its data; what follows does not.
  const UniqueFd large = Open(At(1, "large"), O_RDONLY);
  // Without passthrough the first read asks for the descriptor.
  (void)ReadSome(large.get(), 1, 0);
  const int opened = broker_wakes();
  for (off_t at = 0; at < 20 << 20; at += 1 << 20) {
    EXPECT_EQ(ReadSome(large.get(), 1 << 20, at).size(), size_t{1} << 20);
  }
  EXPECT_LE(broker_wakes(), opened + for_the_log());
}

}  // namespace
}  // namespace airstore::e2e
