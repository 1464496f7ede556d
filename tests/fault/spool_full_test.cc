// SPDX-License-Identifier: Apache-2.0
//
// A spool on a disk of 64 MiB runs full while the gateway is away: who writes is told so, what was
// accepted arrives, and then there is room again.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>
#include <vector>

#include "tests/e2e/support/host_test.h"

namespace airstore::fault {
namespace {

using e2e::ErrnoOf;
using std::chrono::seconds;

constexpr size_t kPiece = 256u << 10;
constexpr auto kStall = seconds(2);

class SpoolFull : public e2e::HostTest, public testing::WithParamInterface<bool> {
 protected:
  e2e::HostOptions Options() const override {
    return {.broker_arguments = {"--write-stall-timeout", "2s", "--io-timeout", "5s"}};
  }
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().CreateWorkspace("work");
    host().StopBroker();
    host().WipeBrokerState();
    const std::string disk = host().Path("state");
    std::filesystem::create_directory(disk);
    ASSERT_EQ(mount("none", disk.c_str(), "tmpfs", 0, "size=64m,mode=700"), 0);
    host().StartBroker();
    mount_ = host().Mount("work", "mnt", Arguments());
  }
  // Mounts with empty caches, on the disk that all the others are on.
  void MountFresh() {
    host().Unmount(mount_);
    host().StopBroker();
    ASSERT_EQ(umount2(host().Path("state").c_str(), MNT_DETACH), 0);
    host().WipeBrokerState();
    host().StartBroker();
    mount_ = host().Mount("work", "mnt", Arguments());
  }
  static e2e::Arguments Arguments() {
    return GetParam() ? e2e::Arguments{} : e2e::Arguments{"--passthrough", "off"};
  }
  std::string At(const std::string& name) const { return mount_ + "/" + name; }
  static std::string Piece(size_t file, size_t piece) {
    return e2e::RandomBytes(file * 1000 + piece, kPiece);
  }
  // Writes a file of so many pieces; how many of them were accepted, and the errno of the next one.
  size_t Fill(size_t file, size_t pieces, int* error) {
    *error = 0;
    const UniqueFd fd(open(At("file-" + std::to_string(file)).c_str(),
                           O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (!fd) {
      *error = errno;
      return 0;
    }
    size_t done = 0;
    while (done < pieces && *error == 0) {
      const std::string piece = Piece(file, done);
      const ssize_t written =
          pwrite(fd.get(), piece.data(), piece.size(), static_cast<off_t>(done * kPiece));
      if (written < 0) *error = errno;
      // One that ended in the middle is asked for again, and says why.
      if (written == static_cast<ssize_t>(piece.size())) ++done;
    }
    return done;
  }

 private:
  std::string mount_;
};

INSTANTIATE_TEST_SUITE_P(Spool, SpoolFull, testing::Bool(),
                         [](const auto& param) { return param.param ? "Passthrough" : "Daemon"; });

TEST_P(SpoolFull, WritersAreToldAndWhatWasAcceptedArrives) {
  EXPECT_EQ(e2e::NamesIn(At(".")).size(), 0u);  // the gateway is not asked again
  host().FreezeGateway();
  constexpr size_t kPieces = 16;
  std::vector<size_t> accepted;
  int error = 0;
  while (error == 0 && accepted.size() < 64)
    accepted.push_back(Fill(accepted.size(), kPieces, &error));
  EXPECT_EQ(error, ENOSPC);
  ASSERT_LT(accepted.size(), 32u) << "the disk did not run full";
  ASSERT_GT(accepted.size(), 2u);
  // It is full for everybody, and at once for those who come later; looking goes on.
  std::this_thread::sleep_for(kStall);
  const auto begin = e2e::Now();
  EXPECT_EQ(host().Airctl({"status"}).code, 0);
  EXPECT_EQ(e2e::NamesIn(At(".")).size() + (accepted.back() == 0 ? 1 : 0), accepted.size());
  EXPECT_LT(e2e::Now() - begin, seconds(2));
  EXPECT_GT(host().SessionStatus("work").at("dirty_bytes").get<uint64_t>(), kPiece);

  host().ThawGateway();
  EXPECT_EQ(host().Airctl({"flush", "--timeout", "60"}).code, 0);
  // What the gateway has makes room.
  const size_t next = 100;
  EXPECT_TRUE(e2e::WaitUntil(seconds(20), [&] {
    unlink(At("file-" + std::to_string(next)).c_str());
    return Fill(next, kPieces, &error) == kPieces;
  })) << strerror(error);
  MountFresh();
  for (size_t file = 0; file < accepted.size(); ++file) {
    if (accepted[file] == 0) continue;
    std::string expected;
    for (size_t i = 0; i < accepted[file]; ++i) expected += Piece(file, i);
    const std::string found = e2e::ReadFile(At("file-" + std::to_string(file)));
    // The write that failed may have been accepted in part.
    ASSERT_GE(found.size(), expected.size()) << file;
    ASSERT_TRUE(found.compare(0, expected.size(), expected) == 0) << file;
  }
}

}  // namespace
}  // namespace airstore::fault
