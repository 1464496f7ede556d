// SPDX-License-Identifier: Apache-2.0
#include "shm/segment.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include "tests/unit/shm/support.h"

namespace airstore::shm {
namespace {

constexpr uint64_t kBytes = 64u << 10;

Segment::Identity MetaIdentity() { return {SegmentKind::kMeta, TestSession(), 0}; }

UniqueFd Duplicate(const Segment& segment) {
  return UniqueFd(fcntl(segment.fd(), F_DUPFD_CLOEXEC, 0));
}

std::unique_ptr<Segment> ReadyMemfd(const Segment::Identity& identity = MetaIdentity()) {
  auto segment = Segment::CreateMemfd(identity, kBytes);
  EXPECT_TRUE(segment.has_value()) << segment.error().ToString();
  (*segment)->MarkReady();
  return std::move(*segment);
}

// What Attach says about a descriptor, as text.
std::string Refusal(UniqueFd fd, const Segment::Identity& expected) {
  auto attached = Segment::Attach(std::move(fd), expected, false);
  if (attached) return "attached";
  EXPECT_EQ(attached.error().code, EPROTO);
  return attached.error().message;
}

TEST(Segment, MemfdIsZeroedAndSealed) {
  auto segment = ReadyMemfd();
  for (uint64_t i = sizeof(SegmentHeader); i < kBytes; ++i) ASSERT_EQ(segment->base()[i], 0);
  const int seals = fcntl(segment->fd(), F_GET_SEALS);
  const int wanted = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  EXPECT_EQ(seals & wanted, wanted);
  EXPECT_EQ(ftruncate(segment->fd(), 4096), -1);
  EXPECT_EQ(ftruncate(segment->fd(), 2 * kBytes), -1);
}

TEST(Segment, HeaderNamesItsCreator) {
  auto segment = ReadyMemfd();
  const SegmentHeader& header = segment->header();
  EXPECT_EQ(header.magic, kMagic);
  EXPECT_EQ(header.total_bytes, kBytes);
  EXPECT_EQ(header.creator_pid, static_cast<uint32_t>(getpid()));
  EXPECT_GT(header.creator_start_ticks, 0u);
}

TEST(Segment, AttachedReaderSeesTheWriter) {
  auto segment = ReadyMemfd();
  auto read_only = segment->OpenReadOnly();
  ASSERT_TRUE(read_only.has_value());
  auto view = Segment::Attach(std::move(*read_only), MetaIdentity(), false);
  ASSERT_TRUE(view.has_value()) << view.error().ToString();
  segment->base()[5000] = 77;
  EXPECT_EQ((*view)->base()[5000], 77);
}

TEST(Segment, ReadOnlyDescriptorCannotBeMappedWritable) {
  auto segment = ReadyMemfd();
  auto read_only = segment->OpenReadOnly();
  ASSERT_TRUE(read_only.has_value());
  auto view = Segment::Attach(std::move(*read_only), MetaIdentity(), true);
  ASSERT_FALSE(view.has_value());
  EXPECT_EQ(view.error().code, EACCES);
}

TEST(Segment, ReadOnlyDescriptorCannotBecomeWritableThroughProc) {
  auto segment = ReadyMemfd();
  auto read_only = segment->OpenReadOnly();
  ASSERT_TRUE(read_only.has_value());
  UniqueFd again(
      open(("/proc/self/fd/" + std::to_string(read_only->get())).c_str(), O_RDWR | O_CLOEXEC));
  if (!again) return;
  EXPECT_EQ(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, again.get(), 0), MAP_FAILED);
  EXPECT_EQ(pwrite(again.get(), "x", 1, 0), -1);
}

TEST(Segment, AttachRefusesWhatIsNotReady) {
  auto segment = Segment::CreateMemfd(MetaIdentity(), kBytes);
  ASSERT_TRUE(segment.has_value());
  EXPECT_EQ(Refusal(Duplicate(**segment), MetaIdentity()), "attach meta segment 0: not ready");
}

TEST(Segment, AttachRefusesWrongMagic) {
  auto segment = ReadyMemfd();
  segment->At<SegmentHeader>(0)->magic = 1;
  EXPECT_EQ(Refusal(Duplicate(*segment), MetaIdentity()), "attach meta segment 0: wrong magic");
}

TEST(Segment, AttachNamesBothVersions) {
  auto segment = ReadyMemfd();
  segment->At<SegmentHeader>(0)->abi_major = 9;
  segment->At<SegmentHeader>(0)->abi_minor = 4;
  EXPECT_EQ(Refusal(Duplicate(*segment), MetaIdentity()),
            "attach meta segment 0: wrong version (theirs 9.4, ours 2.0)");
}

TEST(Segment, AttachRefusesWrongKind) {
  auto segment = ReadyMemfd();
  EXPECT_EQ(Refusal(Duplicate(*segment), {SegmentKind::kSlab, TestSession(), 0}),
            "attach slab segment 0: wrong kind");
}

TEST(Segment, AttachRefusesAnotherSession) {
  auto segment = ReadyMemfd();
  EXPECT_EQ(Refusal(Duplicate(*segment), {SegmentKind::kMeta, TestSession(2), 0}),
            "attach meta segment 0: wrong session");
}

TEST(Segment, AttachRefusesAnotherIndex) {
  auto segment = ReadyMemfd({SegmentKind::kSlab, TestSession(), 5});
  EXPECT_EQ(Refusal(Duplicate(*segment), {SegmentKind::kSlab, TestSession(), 6}),
            "attach slab segment 6: wrong index");
}

TEST(Segment, AttachRefusesAFileShorterThanItsHeaderSays) {
  auto segment = ReadyMemfd();
  segment->At<SegmentHeader>(0)->total_bytes = kBytes + 1;
  EXPECT_EQ(Refusal(Duplicate(*segment), MetaIdentity()), "attach meta segment 0: too short");
}

TEST(Segment, AttachRefusesAFileShorterThanAHeader) {
  TempDir directory;
  UniqueFd fd(open(directory.Path("short").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(ftruncate(fd.get(), 100), 0);
  EXPECT_EQ(Refusal(std::move(fd), {SegmentKind::kLane, TestSession(), 0}),
            "attach lane segment 0: too short");
}

TEST(Segment, AttachRefusesAnUnsealedMemfd) {
  auto segment = ReadyMemfd();
  UniqueFd copy(memfd_create("copy", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(pwrite(copy.get(), segment->base(), kBytes, 0), ssize_t{kBytes});
  EXPECT_EQ(Refusal(UniqueFd(dup(copy.get())), MetaIdentity()),
            "attach meta segment 0: not sealed");
  ASSERT_EQ(fcntl(copy.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
  EXPECT_EQ(Refusal(UniqueFd(dup(copy.get())), MetaIdentity()),
            "attach meta segment 0: not sealed");
  ASSERT_EQ(fcntl(copy.get(), F_ADD_SEALS, F_SEAL_SEAL), 0);
  EXPECT_EQ(Refusal(std::move(copy), MetaIdentity()), "attached");
}

TEST(Segment, AttachRefusesAPlainFileForMeta) {
  TempDir directory;
  auto spool = Segment::CreateSpool(MetaIdentity(), kBytes, directory.Path("meta"));
  ASSERT_TRUE(spool.has_value());
  (*spool)->MarkReady();
  EXPECT_EQ(Refusal(Duplicate(**spool), MetaIdentity()), "attach meta segment 0: not sealed");
}

TEST(Segment, AttachRefusesWhatIsNoFile) {
  int pipes[2];
  ASSERT_EQ(pipe2(pipes, O_CLOEXEC), 0);
  UniqueFd write_end(pipes[1]);
  auto attached = Segment::Attach(UniqueFd(pipes[0]), MetaIdentity(), false);
  EXPECT_FALSE(attached.has_value());
  EXPECT_FALSE(Segment::Attach(UniqueFd(), MetaIdentity(), false).has_value());
}

TEST(Segment, EveryStateHasAName) {
  for (int i = 0; i <= static_cast<int>(AttachState::kWrongIndex); ++i) {
    EXPECT_STRNE(AttachStateName(static_cast<AttachState>(i)), "unknown");
  }
}

TEST(Segment, SpoolFileIsPrivateAndFullyAllocated) {
  TempDir directory;
  const std::string path = directory.Path("lane");
  auto segment = Segment::CreateSpool({SegmentKind::kLane, TestSession(), 1}, kBytes, path);
  ASSERT_TRUE(segment.has_value()) << segment.error().ToString();
  struct stat st;
  ASSERT_EQ(stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0600u);
  EXPECT_GE(st.st_blocks * 512, static_cast<blkcnt_t>(kBytes));
}

TEST(Segment, SpoolFileReplacesAnOldOneWithoutTouchingIt) {
  TempDir directory;
  const std::string path = directory.Path("lane");
  const Segment::Identity identity{SegmentKind::kLane, TestSession(), 1};
  auto old_one = Segment::CreateSpool(identity, kBytes, path);
  ASSERT_TRUE(old_one.has_value());
  (*old_one)->base()[kBytes - 1] = 5;
  auto new_one = Segment::CreateSpool(identity, kBytes, path);
  ASSERT_TRUE(new_one.has_value());
  EXPECT_EQ((*old_one)->base()[kBytes - 1], 5);
  EXPECT_EQ((*new_one)->base()[kBytes - 1], 0);
}

TEST(Segment, SpoolFileIsNotMadeThroughASymlink) {
  TempDir directory;
  const std::string target = directory.Path("target");
  const std::string link = directory.Path("link");
  ASSERT_EQ(symlink(target.c_str(), link.c_str()), 0);
  auto segment = Segment::CreateSpool({SegmentKind::kLane, TestSession(), 1}, kBytes, link);
  ASSERT_TRUE(segment.has_value());
  EXPECT_FALSE(std::filesystem::exists(target));
}

TEST(Segment, SpoolFileInNoDirectoryFails) {
  auto segment = Segment::CreateSpool({SegmentKind::kLane, TestSession(), 1}, kBytes,
                                      "/nonexistent/airstore/lane");
  ASSERT_FALSE(segment.has_value());
  EXPECT_EQ(segment.error().code, ENOENT);
}

TEST(Segment, TooMuchMemoryIsAnErrorAndNoFault) {
  auto segment = Segment::CreateMemfd(MetaIdentity(), 1ull << 62);
  ASSERT_FALSE(segment.has_value());
}

}  // namespace
}  // namespace airstore::shm
