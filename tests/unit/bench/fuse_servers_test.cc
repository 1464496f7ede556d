// SPDX-License-Identifier: Apache-2.0
//
// The comparison servers on a real mount: what is written is read back, through the kernel.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <set>
#include <string>

#include "shm/base/fd.h"
#include "tools/bench/process.h"

namespace airstore::bench {
namespace {

namespace fs = std::filesystem;

std::string Slurp(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void Spill(const fs::path& path, const std::string& content) {
  std::ofstream out(path, std::ios::binary);
  out << content;
}

void DropPages(const fs::path& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
}

std::string Noise(size_t size) {
  std::mt19937_64 random(size);
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

std::set<std::string> Names(const fs::path& directory) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

// The parameter says which server.
class FuseServers : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!UniqueFd(open("/dev/fuse", O_RDWR | O_CLOEXEC))) {
      GTEST_SKIP() << "/dev/fuse: " << strerror(errno);
    }
    std::string directory = (fs::temp_directory_path() / "fuse-servers-test-XXXXXX").string();
    ASSERT_NE(mkdtemp(directory.data()), nullptr);
    base_ = directory;
    root_ = base_ / "mnt";
    fs::create_directory(root_);
    std::vector<std::string> argv{GetParam()};
    if (std::string(GetParam()) == AIRSTORE_LOOPBACK_FUSE) {
      fs::create_directory(base_ / "source");
      argv.push_back((base_ / "source").string());
    }
    argv.push_back(root_.string());
    auto server = MountedServer::Start(argv, root_.string());
    if (!server && geteuid() != 0) GTEST_SKIP() << server.error().ToString();
    ASSERT_TRUE(server) << server.error().ToString();
    server_ = std::move(*server);
  }
  void TearDown() override {
    server_.reset();
    if (!base_.empty()) fs::remove_all(base_);
  }

  fs::path base_;
  fs::path root_;
  std::unique_ptr<MountedServer> server_;
};

TEST_P(FuseServers, RoundTripsDataOfManySizes) {
  for (const size_t size : {0, 1, 4095, 4096, 4097, 70'000, 1 << 20, (5 << 20) + 17}) {
    const fs::path path = root_ / std::to_string(size);
    const std::string content = Noise(size);
    Spill(path, content);
    DropPages(path);
    EXPECT_TRUE(Slurp(path) == content) << size;
    EXPECT_EQ(fs::file_size(path), size);
  }
}

TEST_P(FuseServers, RewritesAndTruncatesInPlace) {
  const fs::path path = root_ / "f";
  std::string content = Noise(3 << 20);
  Spill(path, content);
  {
    const UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_EQ(pwrite(fd.get(), "middle", 6, 1'234'567), 6);
    ASSERT_EQ(ftruncate(fd.get(), 2'000'000), 0);
    ASSERT_EQ(ftruncate(fd.get(), 2'500'000), 0);
  }
  content.replace(1'234'567, 6, "middle");
  content.resize(2'000'000);
  content.resize(2'500'000, '\0');
  DropPages(path);
  EXPECT_TRUE(Slurp(path) == content);
}

TEST_P(FuseServers, KeepsANestedTree) {
  fs::create_directories(root_ / "a/b/c");
  Spill(root_ / "a/b/c/f", "deep");
  EXPECT_EQ(Slurp(root_ / "a/b/c/f"), "deep");
  fs::rename(root_ / "a/b", root_ / "moved");
  EXPECT_EQ(Slurp(root_ / "moved/c/f"), "deep");
  EXPECT_FALSE(fs::exists(root_ / "a/b"));
  fs::create_symlink("moved/c/f", root_ / "link");
  EXPECT_EQ(fs::read_symlink(root_ / "link"), "moved/c/f");
  EXPECT_EQ(Slurp(root_ / "link"), "deep");
  EXPECT_EQ(Names(root_), (std::set<std::string>{"a", "link", "moved"}));
  fs::remove_all(root_ / "moved");
  EXPECT_FALSE(fs::exists(root_ / "moved/c/f"));
}

TEST_P(FuseServers, ListsEveryNameOfALargeDirectoryOnce) {
  std::set<std::string> expected;
  fs::create_directory(root_ / "many");
  for (int i = 0; i < 3000; ++i) {
    expected.insert("name-" + std::to_string(i));
    Spill(root_ / "many" / ("name-" + std::to_string(i)), "");
  }
  for (int pass = 0; pass < 3; ++pass) EXPECT_EQ(Names(root_ / "many"), expected);
  fs::remove(root_ / "many/name-7");
  expected.erase("name-7");
  EXPECT_EQ(Names(root_ / "many"), expected);
}

TEST_P(FuseServers, AnUnlinkedOpenFileStaysReadable) {
  const fs::path path = root_ / "gone";
  Spill(path, "still here");
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  fs::remove(path);
  Spill(path, "another");
  char data[16] = {};
  EXPECT_EQ(pread(fd.get(), data, sizeof(data), 0), 10);
  EXPECT_STREQ(data, "still here");
  EXPECT_EQ(Slurp(path), "another");
}

TEST_P(FuseServers, ChangesAttributes) {
  const fs::path path = root_ / "f";
  Spill(path, "x");
  ASSERT_EQ(chmod(path.c_str(), 0600), 0);
  const timespec times[2] = {{1'000, 5}, {2'000, 7}};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  struct stat attributes;
  ASSERT_EQ(stat(path.c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_mode & 07777U, 0600U);
  EXPECT_EQ(attributes.st_mtim.tv_sec, 2'000);
  EXPECT_EQ(attributes.st_mtim.tv_nsec, 7);
}

TEST_P(FuseServers, LeaveNoMountBehind) {
  Spill(root_ / "f", "x");
  server_.reset();
  EXPECT_FALSE(fs::exists(root_ / "f"));
}

std::string ServerName(const testing::TestParamInfo<const char*>& server) {
  return std::string(server.param) == AIRSTORE_NULL_FUSE ? "Null" : "Loopback";
}

INSTANTIATE_TEST_SUITE_P(All, FuseServers,
                         testing::Values(AIRSTORE_NULL_FUSE, AIRSTORE_LOOPBACK_FUSE), ServerName);

}  // namespace
}  // namespace airstore::bench
